"""Country codes as people write them: ISO 3166-1 alpha-2 in lower case, with a way out for what is none of them.

The table is the standard's list of officially assigned codes with short English names. Groups of countries that can be
asked for by one word are the market's (:data:`market.feasibility.GROUPS`).
"""

from __future__ import annotations

import difflib

from market.errors import InvalidRequest
from market.feasibility import GROUPS

_TABLE = """
ad Andorra|ae United Arab Emirates|af Afghanistan|ag Antigua and Barbuda|ai Anguilla|al Albania|am Armenia|ao Angola|
aq Antarctica|ar Argentina|as American Samoa|at Austria|au Australia|aw Aruba|ax Åland Islands|az Azerbaijan|
ba Bosnia and Herzegovina|bb Barbados|bd Bangladesh|be Belgium|bf Burkina Faso|bg Bulgaria|bh Bahrain|bi Burundi|
bj Benin|bl Saint Barthélemy|bm Bermuda|bn Brunei|bo Bolivia|bq Bonaire|br Brazil|bs Bahamas|bt Bhutan|
bv Bouvet Island|bw Botswana|by Belarus|bz Belize|ca Canada|cc Cocos Islands|cd Congo (Kinshasa)|
cf Central African Republic|cg Congo (Brazzaville)|ch Switzerland|ci Côte d'Ivoire|ck Cook Islands|cl Chile|
cm Cameroon|cn China|co Colombia|cr Costa Rica|cu Cuba|cv Cabo Verde|cw Curaçao|cx Christmas Island|cy Cyprus|
cz Czechia|de Germany|dj Djibouti|dk Denmark|dm Dominica|do Dominican Republic|dz Algeria|ec Ecuador|ee Estonia|
eg Egypt|eh Western Sahara|er Eritrea|es Spain|et Ethiopia|fi Finland|fj Fiji|fk Falkland Islands|fm Micronesia|
fo Faroe Islands|fr France|ga Gabon|gb United Kingdom|gd Grenada|ge Georgia|gf French Guiana|gg Guernsey|gh Ghana|
gi Gibraltar|gl Greenland|gm Gambia|gn Guinea|gp Guadeloupe|gq Equatorial Guinea|gr Greece|gs South Georgia|
gt Guatemala|gu Guam|gw Guinea-Bissau|gy Guyana|hk Hong Kong|hm Heard and McDonald Islands|hn Honduras|hr Croatia|
ht Haiti|hu Hungary|id Indonesia|ie Ireland|il Israel|im Isle of Man|in India|io British Indian Ocean Territory|
iq Iraq|ir Iran|is Iceland|it Italy|je Jersey|jm Jamaica|jo Jordan|jp Japan|ke Kenya|kg Kyrgyzstan|kh Cambodia|
ki Kiribati|km Comoros|kn Saint Kitts and Nevis|kp North Korea|kr South Korea|kw Kuwait|ky Cayman Islands|
kz Kazakhstan|la Laos|lb Lebanon|lc Saint Lucia|li Liechtenstein|lk Sri Lanka|lr Liberia|ls Lesotho|lt Lithuania|
lu Luxembourg|lv Latvia|ly Libya|ma Morocco|mc Monaco|md Moldova|me Montenegro|mf Saint Martin|mg Madagascar|
mh Marshall Islands|mk North Macedonia|ml Mali|mm Myanmar|mn Mongolia|mo Macao|mp Northern Mariana Islands|
mq Martinique|mr Mauritania|ms Montserrat|mt Malta|mu Mauritius|mv Maldives|mw Malawi|mx Mexico|my Malaysia|
mz Mozambique|na Namibia|nc New Caledonia|ne Niger|nf Norfolk Island|ng Nigeria|ni Nicaragua|nl Netherlands|
no Norway|np Nepal|nr Nauru|nu Niue|nz New Zealand|om Oman|pa Panama|pe Peru|pf French Polynesia|
pg Papua New Guinea|ph Philippines|pk Pakistan|pl Poland|pm Saint Pierre and Miquelon|pn Pitcairn|pr Puerto Rico|
ps Palestine|pt Portugal|pw Palau|py Paraguay|qa Qatar|re Réunion|ro Romania|rs Serbia|ru Russia|rw Rwanda|
sa Saudi Arabia|sb Solomon Islands|sc Seychelles|sd Sudan|se Sweden|sg Singapore|sh Saint Helena|si Slovenia|
sj Svalbard and Jan Mayen|sk Slovakia|sl Sierra Leone|sm San Marino|sn Senegal|so Somalia|sr Suriname|ss South Sudan|
st Sao Tome and Principe|sv El Salvador|sx Sint Maarten|sy Syria|sz Eswatini|tc Turks and Caicos Islands|td Chad|
tf French Southern Territories|tg Togo|th Thailand|tj Tajikistan|tk Tokelau|tl Timor-Leste|tm Turkmenistan|
tn Tunisia|to Tonga|tr Türkiye|tt Trinidad and Tobago|tv Tuvalu|tw Taiwan|tz Tanzania|ua Ukraine|ug Uganda|
um US Minor Outlying Islands|us United States|uy Uruguay|uz Uzbekistan|va Holy See|vc Saint Vincent|ve Venezuela|
vg British Virgin Islands|vi US Virgin Islands|vn Vietnam|vu Vanuatu|wf Wallis and Futuna|ws Samoa|ye Yemen|
yt Mayotte|za South Africa|zm Zambia|zw Zimbabwe
"""
COUNTRIES: dict[str, str] = {
    entry.strip()[:2]: entry.strip()[3:] for entry in _TABLE.replace("\n", "").split("|") if entry.strip()
}
"""Code → short English name."""
_ALSO_CALLED = {
    "uk": "gb", "el": "gr", "usa": "us", "america": "us", "england": "gb", "great britain": "gb", "scotland": "gb",
    "holland": "nl", "turkey": "tr", "czech republic": "cz", "korea": "kr", "europe": "eu", "european union": "eu",
    "vatican": "va", "burma": "mm", "swaziland": "sz",
}  # fmt: skip
_LIKE = 0.75
_SUGGESTED = 3
_LONGEST = 40


def read_country(text: str) -> str:
    """One country, in lower case.

    Raises:
        InvalidRequest: not an assigned code; the fix names the nearest one.
    """
    code = text.strip().lower()
    if code in COUNTRIES:
        return code
    if code in GROUPS:
        raise _unknown(text, f"name the one country whose law the machine is under; '{code}' is a group of them")
    raise _unknown(text, _fix(code))


def read_jurisdiction(text: str) -> str:
    """One country or a group of them (``eu``, ``eea``), in lower case.

    Raises:
        InvalidRequest: neither; the fix names the nearest one.
    """
    code = text.strip().lower()
    if code in COUNTRIES or code in GROUPS:
        return code
    raise _unknown(text, _fix(code))


def _fix(word: str) -> str:
    near = [f"'{code}' ({COUNTRIES.get(code, 'a group of countries')})" for code in _near(word)]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"two letters of ISO 3166, such as de or us, or one of the groups {', '.join(GROUPS)}"


def _near(word: str) -> list[str]:
    """The codes most likely meant: by another name, by a region's first word, by a name or the start of one, by the
    code of three letters."""
    if len(word) > _LONGEST:
        return []
    root = word.partition("-")[0]
    if word in _ALSO_CALLED:
        return [_ALSO_CALLED[word]]
    if root != word and (root in COUNTRIES or root in GROUPS):
        return [root]
    names = {name.lower(): code for code, name in COUNTRIES.items()}
    found = difflib.get_close_matches(word, names, 1, _LIKE) if len(word) > 3 else []
    starting = [name for name in names if len(word) > 1 and name.startswith(word)]
    if found or starting:
        return [names[name] for name in (found or starting)[:_SUGGESTED]]
    return difflib.get_close_matches(word, COUNTRIES, _SUGGESTED, _LIKE) if len(word) == 3 else []


def _unknown(text: str, fix: str) -> InvalidRequest:
    return InvalidRequest(f"'{text}' is not a country's code", code="unknown_country", fix=fix)
