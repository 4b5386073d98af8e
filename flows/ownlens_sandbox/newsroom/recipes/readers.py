"""Recipes of the base and customer domains."""

from __future__ import annotations

from .recipe import Growth, Recipe

READERS: dict[str, Recipe] = {
    "companies": Recipe(
        12,
        Growth.SLOW,
        columns={
            "name": "$title(publishers)",
            "legal_name": "{name} || ' ' || $word(company_forms)",
            "registration_number": "?'HRB ' || floor(10000 + $u * 90000)",
            "employee_count": "?floor(20 + 4000 * $skew)",
            "annual_revenue": "?1000000 + 900000000 * $skew",
        },
    ),
    "brands": Recipe(
        30,
        Growth.SLOW,
        columns={
            "name": "$title(brands)",
            "slug": "replace(lower({name}), ' ', '-')",
            "site_domain": "{slug} || '.example'",
            "default_locale": "$word(locales)",
            "subscription_price": "?4.99 + floor($u * 30)",
            "colors": "$some(colors)",
            "settings": "jsonb_build_object('meter', floor($u * 10), 'theme', jsonb_build_object('dark', $u(t) < 0.5))",
        },
    ),
    "brand_countries": Recipe(
        120,
        Growth.SLOW,
        picks={
            # Four countries per brand; the constants keep old pairs apart from new ones as both tables grow.
            "brand_id": "1 + ($k - 1) / 4",
            "country_id": "1 + (($k - 1) % 4 * 14 + ($k - 1) / 4 * 5) % 56",
        },
        columns={"legal_entity": "?$word(brands) || ' ' || $word(company_forms)"},
    ),
    "countries": Recipe(
        58,
        Growth.FIXED,
        capacity=60,
        columns={
            "country_id": "$nth(country_code)",
            "name": "$nth(country_name)",
            "iso3": "$nth(country_iso3)",
            "continent": "$nth(country_continent)",
            "currency": "$nth(country_currency)",
            "population": "nullif($nth(country_inhabitants), '')",
            "languages": "string_to_array($nth(country_languages), ',')",
            "is_eu": "$nth(country_eu)",
        },
        changing=("updated_at",),
    ),
    "cities": Recipe(
        56,
        Growth.FIXED,
        capacity=60,
        columns={
            "country_id": "$nth(city_country)",
            "name": "$nth(city_name)",
            "timezone": "$nth(city_timezone)",
            "latitude": "$nth(city_latitude)",
            "longitude": "$nth(city_longitude)",
            "population": "nullif($nth(city_inhabitants), '')",
        },
        changing=("updated_at",),
    ),
    "categories": Recipe(
        40,
        Growth.SLOW,
        columns={
            "name": "$title(categories)",
            "slug": "replace(lower({name}), ' ', '-')",
            "sort_order": "$k * 10",
        },
        changing=("description", "is_active"),
    ),
    "users": Recipe(
        12000,
        joined="city_id",
        columns={
            "display_name": "$word(first_names) || ' ' || $word(last_names)",
            "country_id": "$parent(country_id)",
            "birth_year": "?1940 + floor($u * 68)",
            "interests": "$numbers(40)",
            "registered_at": "$now - ($total - $k + $u) * interval '2200 days' / $total",
            "last_seen_at": "?greatest({registered_at}, $now - $skew * interval '90 days')",
        },
        changing=("subscription_status", "marketing_opt_in", "last_seen_at"),
    ),
    "user_accounts": Recipe(
        14000,
        columns={
            "plan": "CASE WHEN {account_type} = 'subscriber' THEN $word(plans) END",
            "monthly_fee": "CASE WHEN {account_type} = 'subscriber' THEN 4.99 + floor($u * 25) END",
            "renews_on": "CASE WHEN {account_type} = 'subscriber' THEN $today + floor(1 + $u * 364)::int END",
        },
        changing=("status", "monthly_fee", "renews_on"),
    ),
    "device_types": Recipe(
        10,
        Growth.FIXED,
        capacity=12,
        columns={
            "name": "$nth(devices)",
            "form_factor": "$nth(form_factors)",
            "is_mobile": "{form_factor} IN ('phone', 'tablet', 'watch')",
            "has_touch": "{form_factor} IN ('phone', 'tablet', 'watch', 'other')",
            "screen_class": "?CASE WHEN {form_factor} = 'phone' THEN 'small' ELSE 'large' END",
        },
        changing=("screen_class",),
    ),
    "operating_systems": Recipe(
        20,
        Growth.FIXED,
        capacity=22,
        columns={
            "name": "$nth(systems)",
            "family": "$nth(system_families)",
            "version": "substring($nth(systems) from '[0-9.]+$')",
            "vendor": "$nth(vendors)",
            "is_mobile": "{family} IN ('android', 'ios')",
        },
        changing=("support_ends_on",),
    ),
    "browsers": Recipe(
        18,
        Growth.FIXED,
        capacity=20,
        columns={
            "name": "$nth(browsers)",
            "engine": "$nth(browser_engines)",
            "version": "(100 + floor($u * 60)) || '.0'",
            "is_bot": "{name} IN ('Googlebot', 'Bingbot', 'curl')",
            "market_share": "?60 * $skew",
        },
        changing=("market_share",),
    ),
    "customer_sessions": Recipe(
        36000,
        joined="user_id",
        columns={
            "country_id": "$parent(country_id)",
            "session_end": "?least($now, {session_start} + {duration_seconds} * interval '1 second')",
            "duration_seconds": "floor(5 + 3000 * $skew)",
            "page_views": "1 + floor(20 * $skew)",
            "campaign": "CASE WHEN $u < 0.25 THEN"
            " jsonb_build_object('name', $word(campaigns), 'cpc', floor($u * 90)) END",
            "experiment_ids": "$numbers(60)",
            "is_bounce": "{page_views} = 1",
        },
    ),
    "customer_events": Recipe(
        120000,
        joined="session_id",
        picks={"session_id": "$follow(customer_sessions)"},
        columns={
            "user_id": "$parent(user_id)",
            "event_timestamp": "least($now, $parent(session_start)"
            " + $u * $parent(duration_seconds) * interval '1 second')",
            "page_url": "'https://news.example' || $word(paths)",
            "scroll_depth": "CASE WHEN {event_type} IN ('scroll', 'page_view') THEN $u END",
            "order_value": "CASE WHEN {event_type} = 'subscribe' THEN 4.99 + floor($u * 30) END",
            "properties": "jsonb_build_object('x', floor($u * 1900), 'y', floor($skew * 9000), 'path', $word(paths))",
        },
    ),
    "customer_user_features": Recipe(
        7000,
        columns={
            "sessions_7d": "floor(30 * $skew)",
            "page_views_30d": "{sessions_7d} * 4 + floor(60 * $skew)",
            "avg_read_seconds": "?20 + 300 * $skew",
            "favourite_categories": "$numbers(40)",
            "recency_days": "floor(30 * $skew)",
            "created_at": "least($now, $day + interval '3 hours' + $u * interval '1 hour')",
        },
        changing=("engagement_score", "avg_read_seconds"),
    ),
    "customer_user_segments": Recipe(
        30,
        Growth.SLOW,
        columns={
            "name": "$title(segments)",
            "rule": "jsonb_build_object('field', 'sessions_7d', 'op', '>=', 'value', floor($u * 9))",
            "priority": "floor($u * 100)",
            "owner_team": "$word(teams)",
        },
        changing=("priority", "rule"),
    ),
    "customer_user_segment_assignments": Recipe(6000, changing=("score", "is_active")),
    "customer_churn_predictions": Recipe(
        4800,
        columns={
            "churn_probability": "$skew",
            "risk_band": "CASE WHEN {churn_probability} < 0.3 THEN 'low' WHEN {churn_probability} < 0.7 THEN 'medium'"
            " ELSE 'high' END",
            "expected_loss": "?{churn_probability} * 240",
            "top_reasons": "$some(reasons)",
        },
        changing=("churn_probability", "risk_band", "expected_loss"),
    ),
    "customer_recommendations": Recipe(
        9000,
        columns={
            "rank": "1 + floor($u * 20)",
            "score": "1 - $skew",
            "shown_at": "?least($now, {created_at} + $u * interval '1 day')",
            "clicked_at": "CASE WHEN $u(click) < 0.1 THEN least($now, {shown_at} + $u * interval '1 minute') END",
            "expires_at": "{created_at} + interval '14 days'",
        },
        changing=("shown_at", "clicked_at"),
    ),
    "customer_conversion_predictions": Recipe(
        6000,
        columns={
            "conversion_probability": "$skew",
            "propensity_decile": "1 + floor(10 * {conversion_probability})",
            "offer_code": "?'OFFER-' || floor($u * 40)",
            "expected_value": "?{conversion_probability} * 120",
            "features_used": "$some(metrics)",
        },
        changing=("conversion_probability", "propensity_decile", "expected_value"),
    ),
}
