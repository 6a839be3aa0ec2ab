"""Latin place names in Cyrillic."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.translit import languages, rules, transliterate

KNOWN = {
    "GB": "Boxford=Боксфорд Oxford=Оксфорд Sheffield=Шеффилд Leeds=Лидс Brighton=Брайтон Nottingham=Ноттингем "
    "Manchester=Манчестер Bristol=Бристол Plymouth=Плимут Chelmsford=Челмсфорд",
    "US": "Springfield=Спрингфилд Portland=Портленд Lakewood=Лейквуд Palo_Alto=Пало-Алто Greenville=Гринвилл",
    "RU": "Nizhniy_Novgorod=Нижний_Новгород Yekaterinburg=Екатеринбург Tver'=Тверь Orël=Орёл Irkutsk=Иркутск "
    "Lipetsk=Липецк Zelënyy_Bor=Зелёный_Бор Mayskiy=Майский Arkhangelsk=Архангельск "
    "Nizhny_Tagil=Нижний_Тагил Stary_Oskol=Старый_Оскол Sovetsk=Советск Noyabrsk=Ноябрьск Volga=Волга "
    "Syktyvkar=Сыктывкар Shcherbinka=Щербинка Elista=Элиста",
    "UA": "Lviv=Львов Alchevs'k=Алчевск Chernihiv=Чернигов Zhmerynka=Жмеринка Lubny=Лубны Truskavets=Трускавец",
    "BY": "Hrodna=Гродна Dokshytsy=Докшицы Rahachow=Рагачов",
    "DE": "Darmstadt=Дармштадт Düsseldorf=Дюссельдорф Köln=Кёльн Freiburg=Фрайбург Zwickau=Цвикау",
    "FR": "Bordeaux=Бордо Toulouse=Тулуз Roubaix=Рубе Saint-Denis=Сен-Дени Villeneuve-d'Ascq=Вильнёв-д’Аск",
    "ES": "Málaga=Малага Zaragoza=Сарагоса Gijón=Хихон",
    "MX": "Ciudad_Juárez=Сьюдад-Хуарес Puebla_City=Пуэбла Hermosillo=Эрмосильо Playa_del_Carmen=Плая-дель-Кармен",
    "IT": "Bologna=Болонья Arezzo=Ареццо Alghero=Альгеро Bergamo=Бергамо",
    "BR": "São_Paulo=Сан-Паулу Porto_Alegre=Порту-Алегри Curitiba=Куритиба Contagem=Контажен",
    "PL": "Szczecin=Щецин Rzeszów=Жешув Bydgoszcz=Быдгощ Katowice=Катовице Gniezno=Гнезно Chrzanów=Хшанув "
    "Cieszyn=Цешин Siedlce=Седльце Zamość=Замосць",
    "SE": "Linköping=Линчёпинг Helsingborg=Хельсингборг Östersund=Эстерсунд Gävle=Евле Ystad=Истад",
    "MK": "Skopje=Скопье",
    "TW": "Taoyuan_District=Таоюань",
    "TR": "Eskişehir=Эскишехир Bursa=Бурса",
    "JP": "Osaka=Осака Sapporo=Саппоро Fukuoka=Фукуока Hiroshima=Хиросима Chōfu=Тёфу",
    "CN": "Shenzhen=Шэньчжэнь Chengdu=Чэнду Qingdao=Циндао Suzhou=Сучжоу Xiamen=Сямэнь Jinan=Цзинань Xining=Синин",
    "KR": "Suwon=Сувон Daejeon=Тэджон",
}


@pytest.mark.parametrize(
    ("country", "latin", "russian"),
    [(country, *pair.split("=")) for country, pairs in KNOWN.items() for pair in pairs.split()],
)
def test_well_known_names(country: str, latin: str, russian: str) -> None:
    """Names that everybody can check, by the rules of the country's language."""
    assert transliterate(latin.replace("_", " "), country) == russian.replace("_", " ")


@given(
    st.text("abcdefghijklmnopqrstuvwxyzäöüßéèñçşłø'- ", min_size=1, max_size=30), st.sampled_from(sorted(languages()))
)
def test_no_letter_soup(name: str, country: str) -> None:
    """No Latin letter is ever left between Cyrillic ones."""
    assert not re.search("[A-Za-zÀ-ɏ]", transliterate(name, country))


@pytest.mark.parametrize("name", ["Москва", "東京", "القاهرة", "", "123"])
def test_other_scripts_are_left_alone(name: str) -> None:
    """What is not Latin is returned as it came."""
    assert transliterate(name, "RU") == name


def test_every_language_has_rules() -> None:
    """A country never points at rules that do not exist."""
    assert set(languages().values()) | {"plain"} == set(rules())


def test_capitals_are_kept() -> None:
    """Capital letters stand where they stood; small words stay small."""
    assert transliterate("Villa del Mar", "ES") == "Вилья-дель-Мар"
