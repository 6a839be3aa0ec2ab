"""Is this User-Agent a program and not a person? A verdict with the reason it was given for.

ua-parser knows some hundred crawlers by name (device family `Spider`). New ones appear every week, but they keep to a
few habits of naming; those are the patterns below. The reason lets whoever reads the event disagree.
"""

from uaparser.words import Words, split

# A phone whose maker's name ends in "bot": no crawler.
_NOT_A_BOT = "cubot"

# reason: regular expressions, separated by white space, looked for in the lower-cased text; first match wins.
_HABITS = {
    "link preview": r"""
        facebookexternalhit facebookcatalog meta-external(?:agent|fetcher) slack-imgproxy ^whatsapp/ skypeuripreview
        vkshare embedly iframely flipboardproxy pinterest/0\.
    """,
    "AI agent": r"""
        \bgptbot chatgpt-user oai-searchbot claude(?:bot|-web|-user|-searchbot) anthropic-ai perplexity cohere-ai
        amazonbuyforme \bdiffbot bytespider \bccbot
    """,
    "names itself a crawler": r"""
        bot(?:s|ing|like)?(?:[^a-z]|$) [a-z]bot[_-]?[a-z0-9.]*/ crawl spider scrap(?:er|y) slurp archiver fetcher
        indexer harvest mediapartners-google google-(?:extended|read-aloud|adwords|inspectiontool|safety)
        feedburner bingpreview yandex(?:images|metrika|webmaster|direct|favicons|screenshot)
    """,
    "monitoring": r"""
        pingdom uptime statuscake site24x7 newrelic datadog gtmetrix lighthouse pagespeed monitis zabbix nagios
        blackbox.exporter checkly healthcheck kube-probe
    """,
    "headless browser": r"""
        headless phantomjs slimerjs puppeteer playwright selenium webdriver jsdom
    """,
    "security scanner": r"""
        nmap masscan zgrab nikto sqlmap nessus acunetix openvas censysinspect expanse netcraft wpscan nuclei
    """,
    "HTTP library": r"""
        ^(?:curl|wget|httpie|lwp|libwww|lynx|w3c_|python|aiohttp|httpx|go-http-client|java/|ruby|php|perl|node|axios)
        ^(?:got[\s/(]|undici|apache-|jakarta|guzzle|typhoeus|reqwest|restsharp|postman|winhttp)
        ^(?:http_|httpunit|rest-client|grequests|urllib) python-requests python-urllib libwww-perl
    """,
    "gives a contact address": r"""
        \(\+https?:// ;\s?\+https?:// ^[^(]*\+https?:// \+?https?://[^)\s;]*(?:bot|crawl|spider)
    """,
    "feed reader": r"""
        \brss\b feedly inoreader newsblur feedparser simplepie \bfeed(?:bin|demon|validator)
    """,
}
_RULES = Words(rule for reason, patterns in _HABITS.items() for rule in split(reason, patterns))


def bot_reason(lowered: str, device_family: str | None) -> str:
    """Why a User-Agent, given in lower case, is taken for a program; an empty text when it is taken for a person.

    `device_family` is what ua-parser found, which says `Spider` for the crawlers it knows by name. Our own reasons come
    first, being more exact.
    """
    if _NOT_A_BOT in lowered:
        lowered = lowered.replace(_NOT_A_BOT, "")
    return _RULES.find(lowered) or ("known crawler" if device_family == "Spider" else "")
