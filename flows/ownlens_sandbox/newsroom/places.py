"""Countries and cities of the newsroom's readers."""

from __future__ import annotations

# code|iso3|name|continent|currency|inhabitants|languages|in the European Union
_COUNTRIES = """
DE|DEU|Germany|europe|EUR|84500000|de|t
FR|FRA|France|europe|EUR|68200000|fr|t
GB|GBR|United Kingdom|europe|GBP|68300000|en|f
US|USA|United States|north_america|USD|340100000|en,es|f
ES|ESP|Spain|europe|EUR|48600000|es,ca,gl,eu|t
IT|ITA|Italy|europe|EUR|59000000|it|t
PL|POL|Poland|europe|PLN|36600000|pl|t
NL|NLD|Netherlands|europe|EUR|17900000|nl,fy|t
AT|AUT|Austria|europe|EUR|9200000|de|t
CH|CHE|Switzerland|europe|CHF|9000000|de,fr,it,rm|f
BE|BEL|Belgium|europe|EUR|11800000|nl,fr,de|t
SE|SWE|Sweden|europe|SEK|10600000|sv|t
NO|NOR|Norway|europe|NOK|5600000|nb,nn|f
DK|DNK|Denmark|europe|DKK|6000000|da|t
FI|FIN|Finland|europe|EUR|5600000|fi,sv|t
PT|PRT|Portugal|europe|EUR|10600000|pt|t
IE|IRL|Ireland|europe|EUR|5300000|en,ga|t
GR|GRC|Greece|europe|EUR|10400000|el|t
CZ|CZE|Czechia|europe|CZK|10900000|cs|t
HU|HUN|Hungary|europe|HUF|9600000|hu|t
RO|ROU|Romania|europe|RON|19100000|ro|t
BG|BGR|Bulgaria|europe|EUR|6400000|bg|t
HR|HRV|Croatia|europe|EUR|3900000|hr|t
SK|SVK|Slovakia|europe|EUR|5400000|sk|t
SI|SVN|Slovenia|europe|EUR|2100000|sl|t
EE|EST|Estonia|europe|EUR|1400000|et|t
LV|LVA|Latvia|europe|EUR|1900000|lv|t
LT|LTU|Lithuania|europe|EUR|2900000|lt|t
UA|UKR|Ukraine|europe|UAH|37700000|uk|f
TR|TUR|Türkiye|asia|TRY|85300000|tr|f
CA|CAN|Canada|north_america|CAD|40100000|en,fr|f
MX|MEX|Mexico|north_america|MXN|129700000|es|f
BR|BRA|Brazil|south_america|BRL|211100000|pt|f
AR|ARG|Argentina|south_america|ARS|45500000|es|f
CL|CHL|Chile|south_america|CLP|19700000|es|f
CO|COL|Colombia|south_america|COP|52300000|es|f
PE|PER|Peru|south_america|PEN|33800000|es,qu,ay|f
IN|IND|India|asia|INR|1438100000|hi,en|f
JP|JPN|Japan|asia|JPY|124500000|ja|f
KR|KOR|South Korea|asia|KRW|51700000|ko|f
CN|CHN|China|asia|CNY|1410700000|zh|f
SG|SGP|Singapore|asia|SGD|5900000|en,ms,ta,zh|f
ID|IDN|Indonesia|asia|IDR|281200000|id|f
TH|THA|Thailand|asia|THB|71700000|th|f
VN|VNM|Vietnam|asia|VND|100400000|vi|f
IL|ISR|Israel|asia|ILS|9800000|he,ar|f
AE|ARE|United Arab Emirates|asia|AED|10500000|ar|f
EG|EGY|Egypt|africa|EGP|114500000|ar|f
MA|MAR|Morocco|africa|MAD|37700000|ar,zgh|f
NG|NGA|Nigeria|africa|NGN|227900000|en|f
KE|KEN|Kenya|africa|KES|55300000|sw,en|f
ZA|ZAF|South Africa|africa|ZAR|63200000|zu,xh,af,en|f
CI|CIV|Côte d'Ivoire|africa|XOF|31200000|fr|f
AU|AUS|Australia|oceania|AUD|26700000|en|f
NZ|NZL|New Zealand|oceania|NZD|5200000|en,mi|f
AQ|ATA|Antarctica|antarctica|USD|||f
IS|ISL|Iceland|europe|ISK|390000|is|f
LU|LUX|Luxembourg|europe|EUR|670000|lb,fr,de|t
MT|MLT|Malta|europe|EUR|550000|mt,en|t
CY|CYP|Cyprus|asia|EUR|1300000|el,tr|t
"""

# country|name|timezone|latitude|longitude|inhabitants
_CITIES = """
DE|Berlin|Europe/Berlin|52.520|13.405|3780000
DE|München|Europe/Berlin|48.137|11.576|1510000
DE|Hamburg|Europe/Berlin|53.551|9.994|1910000
DE|Köln|Europe/Berlin|50.938|6.960|1090000
FR|Paris|Europe/Paris|48.857|2.352|2100000
FR|Lyon|Europe/Paris|45.764|4.836|520000
FR|Marseille|Europe/Paris|43.297|5.381|870000
GB|London|Europe/London|51.507|-0.128|8860000
GB|Manchester|Europe/London|53.481|-2.242|550000
GB|Edinburgh|Europe/London|55.953|-3.188|510000
US|New York|America/New_York|40.713|-74.006|8260000
US|San Francisco|America/Los_Angeles|37.775|-122.419|810000
US|Chicago|America/Chicago|41.878|-87.630|2660000
US|Austin|America/Chicago|30.267|-97.743|980000
ES|Madrid|Europe/Madrid|40.417|-3.704|3330000
ES|Barcelona|Europe/Madrid|41.385|2.173|1660000
IT|Roma|Europe/Rome|41.903|12.496|2750000
IT|Milano|Europe/Rome|45.464|9.190|1370000
PL|Warszawa|Europe/Warsaw|52.230|21.012|1860000
PL|Łódź|Europe/Warsaw|51.759|19.456|650000
NL|Amsterdam|Europe/Amsterdam|52.368|4.904|930000
NL|'s-Hertogenbosch|Europe/Amsterdam|51.690|5.303|160000
AT|Wien|Europe/Vienna|48.208|16.373|2010000
CH|Zürich|Europe/Zurich|47.377|8.541|430000
BE|Bruxelles|Europe/Brussels|50.850|4.352|190000
SE|Göteborg|Europe/Stockholm|57.709|11.975|600000
NO|Tromsø|Europe/Oslo|69.649|18.956|78000
DK|København|Europe/Copenhagen|55.676|12.568|660000
FI|Helsinki|Europe/Helsinki|60.170|24.938|670000
PT|Lisboa|Europe/Lisbon|38.722|-9.139|550000
IE|Dublin|Europe/Dublin|53.350|-6.260|590000
GR|Αθήνα|Europe/Athens|37.984|23.728|640000
CZ|Praha|Europe/Prague|50.075|14.437|1380000
HU|Budapest|Europe/Budapest|47.498|19.040|1680000
RO|București|Europe/Bucharest|44.427|26.103|1720000
BG|София|Europe/Sofia|42.698|23.322|1190000
UA|Київ|Europe/Kyiv|50.450|30.523|2950000
TR|İstanbul|Europe/Istanbul|41.008|28.978|15660000
CA|Montréal|America/Toronto|45.502|-73.567|1760000
MX|Ciudad de México|America/Mexico_City|19.433|-99.133|9210000
BR|São Paulo|America/Sao_Paulo|-23.551|-46.633|11450000
AR|Buenos Aires|America/Argentina/Buenos_Aires|-34.604|-58.382|3120000
CL|Santiago|America/Santiago|-33.449|-70.669|6160000
IN|Mumbai|Asia/Kolkata|19.076|72.878|12480000
JP|東京|Asia/Tokyo|35.690|139.692|14100000
KR|서울|Asia/Seoul|37.566|126.978|9390000
CN|上海|Asia/Shanghai|31.230|121.474|24870000
SG|Singapore|Asia/Singapore|1.352|103.820|5920000
ID|Jakarta|Asia/Jakarta|-6.208|106.846|10670000
IL|תל אביב|Asia/Jerusalem|32.085|34.782|470000
EG|القاهرة|Africa/Cairo|30.044|31.236|10200000
NG|Lagos|Africa/Lagos|6.524|3.379|15390000
KE|Nairobi|Africa/Nairobi|-1.292|36.822|4400000
ZA|Cape Town|Africa/Johannesburg|-33.925|18.424|4770000
AU|Sydney|Australia/Sydney|-33.869|151.209|5450000
NZ|Auckland|Pacific/Auckland|-36.849|174.763|1660000
AQ|McMurdo Station|Antarctica/McMurdo|-77.846|166.676|
IS|Reykjavík|Atlantic/Reykjavik|64.147|-21.943|140000
FR|Saint-Étienne|Europe/Paris|45.440|4.387|170000
DE|Görlitz|Europe/Berlin|51.153|14.987|56000
"""


def _columns(table: str) -> list[list[str]]:
    rows = [line.split("|") for line in table.strip().splitlines()]
    return [list(column) for column in zip(*rows, strict=True)]


COUNTRY_FACTS = dict(
    zip(
        ("code", "iso3", "name", "continent", "currency", "inhabitants", "languages", "eu"),
        _columns(_COUNTRIES),
        strict=True,
    )
)
CITY_FACTS = dict(
    zip(("country", "name", "timezone", "latitude", "longitude", "inhabitants"), _columns(_CITIES), strict=True)
)
