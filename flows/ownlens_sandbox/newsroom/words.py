"""Word lists that the newsroom's texts are made of. Recipes name them as `$word(list)` or `$nth(list)`."""

from __future__ import annotations

from .places import CITY_FACTS, COUNTRY_FACTS


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.replace("\n", " ").split("|")]


WORDS: dict[str, list[str]] = {
    **{f"country_{fact}": values for fact, values in COUNTRY_FACTS.items()},
    **{f"city_{fact}": values for fact, values in CITY_FACTS.items()},
    "publishers": _split("""Morgenblatt Verlag | Courier Group | Éditions du Phare | Northern Lights Media
        | Harbour & Vale | Gazeta Zachodnia | Meridian Press | Tribune O'Connor | Nuova Cronaca | 朝凪メディア"""),
    "company_forms": _split("GmbH | Ltd | SAS | AB | S.p.A. | Inc. | Sp. z o.o. | B.V."),
    "brands": _split("""Morgenblatt | The Courier | Le Phare | Harbour Post | Gazeta Poranna | Meridian Weekly
        | Tribune Today | Cronaca | Asanagi | Science Desk | The Long Read | Market Notes | Kultur Woche
        | Evening Edition | Green Ledger | Off the Record | Match Day | Tech Tides | City Lens | Bonne Table"""),
    "categories": _split("""Politics | Business | World | Science | Culture | Sport | Technology | Opinion | Health
        | Climate | Elections | Markets | Europe | Space | Film | Football | Security | Letters | Medicine | Energy
        | Parliament | Start-ups | Africa | Physics | Books | Cycling | Chips | Columns | Nutrition | Oceans"""),
    "first_names": _split("""Anna | Jonas | Léa | Mateusz | Zoë | Óscar | Ingrid | Paolo | Yuki | Chloé | Søren
        | Aoife | Nikos | Fatima | Łukasz | Marta | Émile | Jürgen | Sara | Kwame | Linh | Dmytro | Noor | Thiago"""),
    "last_names": _split("""Müller | O'Brien | García | Kowalski | Dubois | Sørensen | Rossi | Tanaka | Nguyen
        | Øvergård | Papadopoulos | D'Angelo | Schäfer | Okafor | Silva | Åkesson | Novák | Haddad | Smith | Jansen
        | Shevchenko | van der Berg | Lefèvre | Żak"""),
    "adjectives": _split("""quiet | bright | northern | weekly | hidden | early | rapid | public | local | open
        | digital | young | coastal | urban | annual | lasting"""),
    "nouns": _split("""harbour | signal | budget | reader | archive | bridge | council | market | garden | report
        | station | river | index | forum | ledger | summit"""),
    "subjects": _split("""City council | Central bank | Héroes del barrio | Researchers in Zürich | The opposition
        | A small start-up | Rail operator | Voters | Farmers' union | Coast guard | The national team
        | Teachers | Prosecutors | Climate scientists | Die Bahn | Publishers | An "invisible" lobby | 東京の研究者"""),
    "verbs": _split("""approves | questions | delays | rejects | unveils | defends | returns to | wins | loses
        | doubles down on | weighs | quietly drops | calls for | explains | celebrates"""),
    "objects": _split("""new harbour plan | emergency budget | its oldest archive | rules for short-term rentals
        | a record fine | the night train | 5 % pay rise | free school meals | the data-retention law
        | solar roofs | a €2bn bridge | its own forecast | the final | an open letter | café terraces"""),
    "reasons": _split("""requested by the team | seasonal campaign | found in review | legal advice | routine rotation
        | reader complaints | see ticket for details | pilot ended | "temporary" exception | cost saving"""),
    "beats": _split("politics | economy | science | culture | sport | investigations | data | foreign desk | audio"),
    "tags": _split("""exclusive | live | analysis | interview | explainer | investigation | quiz | long-read
        | breaking | opinion | data | podcast | O'Neill | Zürich | éco | video"""),
    "skills": _split("editing | data | video | python | design | fact-checking | audio | SEO | law | sales | français"),
    "locales": _split("de-DE | en-GB | fr-FR | en-US | es-ES | it-IT | pl-PL | nl-NL | sv-SE | ja-JP"),
    "languages": _split("de | en | fr | es | it | pl | nl | sv | ja"),
    "colors": _split("#0b3d91 | #e4002b | #ffffff | #111111 | #f2a900 | #00796b | #7b1fa2"),
    "plans": _split("digital | digital plus | print + digital | student | family"),
    "referrers": _split("""| https://search.example/ | https://news.example/top | https://social.example/post/91
        | android-app://com.example.reader | https://mail.example/ | https://partner.example/a?b=c&d=é"""),
    "paths": _split("/ | /politics | /business | /search?q=bahn | /newsletter | /world | /sport/live | /audio/latest"),
    "campaigns": _split("spring sale | newsletter-42 | app launch | student offer | retargeting | Ostern"),
    "variants": _split("control | compact | large-image | no-teaser"),
    "channels": _split("email | intranet | chat | town hall | newsletter | sms | video | noticeboard | app | phone"),
    "regions": _split("eu-central | eu-west | us-east | ap-northeast | sa-east"),
    "mime_types": _split("image/jpeg | image/png | video/mp4 | audio/mpeg | application/pdf | image/webp"),
    "formats": _split("jpeg | webp | avif | mp4 | mp3 | png"),
    "devices": _split("""Phone | Large phone | Small tablet | Tablet | Laptop | Desktop | Television | Watch | Speaker
        | E-reader | Game console | Car display"""),
    "form_factors": _split("""phone | phone | tablet | tablet | desktop | desktop | television | watch | speaker
        | tablet | television | other"""),
    "systems": _split("""Android 15 | Android 16 | iOS 18 | iOS 26 | iPadOS 26 | Windows 10 | Windows 11 | macOS 15
        | macOS 26 | Ubuntu 24.04 | Fedora 43 | Debian 13 | ChromeOS 140 | tvOS 26 | watchOS 26 | webOS 24 | Tizen 9
        | Android 14 | iOS 17 | KaiOS 3 | HarmonyOS 5 | Haiku R1"""),
    "system_families": _split("""android | android | ios | ios | ios | windows | windows | macos | macos | linux
        | linux | linux | linux | ios | ios | linux | linux | android | ios | other | other | other"""),
    "vendors": _split("""Google | Google | Apple | Apple | Apple | Microsoft | Microsoft | Apple | Apple | Canonical
        | Red Hat | Debian | Google | Apple | Apple | LG | Samsung | Google | Apple | KaiOS | Huawei | Haiku"""),
    "browsers": _split("""Chrome | Safari | Firefox | Edge | Samsung Internet | Opera | Brave | Vivaldi | Chrome
        | Safari | Firefox | Edge | Googlebot | Bingbot | curl | Reader App | Epiphany | Ladybird | Lynx | Falkon"""),
    "browser_engines": _split("""blink | webkit | gecko | blink | blink | blink | blink | blink | blink | webkit
        | gecko | blink | blink | blink | other | webkit | webkit | other | other | blink"""),
    "departments": _split("""Newsroom | Politics desk | Business desk | Science desk | Culture desk | Sport desk
        | Photo desk | Video | Audio | Data team | Marketing | Subscriptions | Advertising | Legal | People | Finance
        | Engineering | Design | Security | Facilities | Archive | Foreign desk | Print | Events"""),
    "job_titles": _split("""Reporter | Editor | Photo editor | Producer | Engineer | Designer | Analyst | Lawyer
        | Account manager | Chief of staff | Copy editor | Head of desk"""),
    "segments": _split("""Loyal readers | Weekend readers | Newsletter openers | At risk | New arrivals | Sport fans
        | Business readers | Students | App only | Paywall bouncers | Commenters | Night owls | Lapsed | Local"""),
    "teams": _split("audience | marketing | subscriptions | product | data"),
    "roles": _split("""reader | reporter | editor | chief editor | moderator | advertiser | analyst | engineer
        | administrator | auditor | lawyer | support | archivist | photo editor | intern | robot"""),
    "resources": _split("articles | media | comments | users | campaigns | payments | settings | reports | api keys"),
    "actions": _split("read | create | update | delete | publish | export | administer"),
    "scopes": _split("articles:read | articles:write | media:read | media:write | users:read | reports:read"),
    "endpoints": _split("""/v1/articles | /v1/articles/search | /v1/media | /v1/users/me | /v1/recommendations
        | /v2/articles | /v2/stream | /v1/health"""),
    "audit_actions": _split("""article.publish | article.edit | media.upload | user.update | login | settings.change
        | export.run | comment.remove | key.rotate"""),
    "resource_types": _split("article | media asset | user | setting | comment | api key | report"),
    "indicators": _split("new country | impossible travel | tor exit | old browser | password list | odd hour"),
    "expectations": _split("""expect_column_values_to_not_be_null | expect_column_values_to_be_unique
        | expect_column_values_to_be_between | expect_table_row_count_to_be_between"""),
    "column_names": _split("user_id | created_at | status | word_count | event_type | country_id | score"),
    "jobs": _split("nightly-load | hourly-events | feature-build | sessionise | retention | author-report"),
    "bases": _split("consent | contract | legal obligation | legitimate interest | public interest"),
    "data_categories": _split("e-mail address | reading history | payment | location | device | name"),
    "compliance_steps": _split("consent review | deletion run | audit request | access report | policy change"),
    "models": _split("""churn-tree | conversion-net | read-next | headline-ranker | topic-tagger | traffic-forecast
        | comment-filter | paywall-meter"""),
    "frameworks": _split("scikit-learn | xgboost | pytorch | lightgbm"),
    "metrics": _split("auc | precision | recall | drift | latency_p95 | row_count | null_share | freshness_seconds"),
    "transformations": _split("log | scale | one-hot | bucket | impute | hash"),
    "data_types": _split("float | int | category | text | vector"),
    "flags": _split("""new-player | dark-mode | meter-v2 | comment-threads | audio-articles | fast-search | gift-links
        | live-blog | push-topics | offline-reading"""),
    "setting_sections": _split("""paywall | search | newsletter | comments | media | login | privacy | ads | api
        | audio | homepage | alerts"""),
    "setting_names": _split("""limit | enabled | timeout_seconds | retries | default_locale | batch_size
        | allowed_origins | cache_minutes | theme | max_items | window_days | template"""),
    "owners": _split("ownlens | etl | dbt | analyst | service"),
}
