// What a checker of accessibility would look for, in our own words: each rule returns the elements that break it.
({
  "every control has a name": () =>
    [...document.querySelectorAll("button, a[href], input, select, summary, meter, progress, [role=log], pre[tabindex]")].filter(
      (e) =>
        e.checkVisibility() &&
        !(e.getAttribute("aria-label") || e.innerText.trim() || e.labels?.length || e.getAttribute("aria-labelledby")),
    ),

  "ids are unique": () =>
    [...document.querySelectorAll("[id]")].filter((e, at, all) => all.findIndex((other) => other.id === e.id) !== at),

  "what a label points at is there": () =>
    [...document.querySelectorAll("[aria-labelledby], [aria-describedby]")].filter((e) => {
      const ids = `${e.getAttribute("aria-labelledby") ?? ""} ${e.getAttribute("aria-describedby") ?? ""}`.trim().split(" ");
      return e.checkVisibility() && ids.some((id) => !document.getElementById(id));
    }),

  "one main, one h1, one header": () => ["main", "h1", "header.top"].filter((s) => document.querySelectorAll(s).length !== 1),

  "headings step by one": () =>
    [...document.querySelectorAll("main h1, main h2, main h3")].filter(
      (e, at, all) => at && e.tagName[1] - all[at - 1].tagName[1] > 1,
    ),

  "lists hold items": () =>
    [...document.querySelectorAll("ul, ol")].filter((e) => [...e.children].some((child) => child.tagName !== "LI")),

  "what scrolls can be reached by keyboard": () =>
    [...document.querySelectorAll("main *")].filter(
      (e) =>
        /auto|scroll/.test(getComputedStyle(e).overflowY) &&
        e.scrollHeight > e.clientHeight + 1 &&
        e.tabIndex < 0 &&
        !e.querySelector("a, button, summary, [tabindex]"),
    ),

  "no style or script stands in the page": () => [...document.querySelectorAll("[style], style, script:not([src])")],

  "the language is said": () => (document.documentElement.lang === "en" ? [] : ["html"]),

  "nothing has a positive tab index": () => [...document.querySelectorAll("[tabindex]")].filter((e) => e.tabIndex > 0),

  // Each visible text against what lies behind it, as WCAG 2 counts it.
  "contrast is at least 4.5": () => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = (colour) => {
      const [red, green, blue] = colour
        .slice(0, 3)
        .map((value) => value / 255)
        .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const behind = (e) => {
      for (let at = e; at; at = at.parentElement) {
        const colour = rgba(getComputedStyle(at).backgroundColor);
        if (colour[3] === 255) return colour;
      }
      return rgba(getComputedStyle(document.body).backgroundColor);
    };
    return [...document.querySelectorAll("body *")].filter((e) => {
      const text = [...e.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
      if (!text || !e.checkVisibility({ opacityProperty: true })) return false;
      if (e.closest(".sr, button:disabled, option, [aria-busy=true]")) return false;
      const [one, other] = [light(rgba(getComputedStyle(e).color)), light(behind(e))];
      return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05) < 4.5;
    });
  },
});
