"""Recipes of the editorial domain."""

from __future__ import annotations

from .recipe import Growth, Recipe

STORIES: dict[str, Recipe] = {
    "editorial_authors": Recipe(
        240,
        Growth.SLOW,
        columns={
            "name": "$word(first_names) || ' ' || $word(last_names)",
            "slug": "'author-' || $k",
            "beat": "$word(beats)",
            "languages": "$some(languages)",
            "word_rate": "CASE WHEN {is_freelance} THEN 0.2 + $u END",
        },
        changing=("biography", "beat"),
    ),
    "editorial_articles": Recipe(
        4000,
        days=400,
        columns={
            "headline": "$word(subjects) || ' ' || $word(verbs) || ' ' || $word(objects)",
            "slug": "'story-' || $k",
            "status": "CASE WHEN $u < 0.85 THEN 'published' WHEN $u < 0.93 THEN 'archived' WHEN $u < 0.97 THEN 'review'"
            " ELSE 'draft' END",
            "word_count": "120 + floor(4000 * $skew)",
            "metadata": "jsonb_build_object('source', $word(beats), 'wire', $u < 0.2, 'geo', $word(city_name),"
            " 'revisions', floor($u(r) * 12))",
            "published_at": "CASE WHEN {status} IN ('published', 'archived')"
            " THEN least($now, {created_at} + $u * interval '9 hours') END",
        },
        changing=("headline", "status", "word_count", "published_at"),
    ),
    "editorial_article_performance": Recipe(
        12000,
        columns={
            "page_views": "floor(40 + 30000 * $skew / sqrt($k))",
            "unique_readers": "floor({page_views} * (0.5 + 0.4 * $u))",
            "avg_read_seconds": "?15 + 280 * $u",
            "ad_revenue": "{page_views} * 0.0031",
            "subscriptions_assisted": "floor(12 * $skew)",
        },
        changing=("page_views", "unique_readers", "ad_revenue"),
    ),
    "editorial_author_performance": Recipe(
        2400,
        columns={
            "articles_published": "floor(4 * $skew)",
            "words_written": "{articles_published} * (300 + floor($u * 700))",
            "page_views": "floor(100 + 50000 * $skew)",
            "unique_readers": "floor({page_views} * 0.7)",
            "ad_revenue": "{page_views} * 0.0031",
        },
        changing=("page_views", "unique_readers", "ad_revenue"),
    ),
    "editorial_category_performance": Recipe(
        900,
        columns={
            "articles_published": "floor(20 * $skew)",
            "page_views": "floor(1000 + 200000 * $skew)",
            "unique_readers": "floor({page_views} * 0.6)",
            "subscriptions": "floor(60 * $skew)",
            "hourly_views": "ARRAY[floor($u * 90), floor($u(b) * 400), floor($u(c) * 900), floor($u(d) * 700)]",
        },
        changing=("page_views", "unique_readers", "hourly_views"),
    ),
    "editorial_content_events": Recipe(
        80000,
        columns={
            "position": "?floor($u * 30)",
            "dwell_ms": "CASE WHEN {event_type} <> 'impression' THEN floor(400 + 90000 * $skew) END",
            "variant": "CASE WHEN $u < 0.3 THEN $word(variants) END",
            "payload": "CASE WHEN $u < 0.4 THEN"
            " jsonb_build_object('vw', floor(320 + $u(w) * 1600), 'ref', $word(paths)) END",
        },
    ),
    "editorial_headline_tests": Recipe(
        800,
        columns={
            "headline_a": "$word(subjects, a) || ' ' || $word(verbs, a) || ' ' || $word(objects, a)",
            "headline_b": "$word(subjects, a) || ' ' || $word(verbs, b) || ' ' || $word(objects, a)",
            "impressions_a": "floor(500 + 20000 * $u)",
            "impressions_b": "floor(500 + 20000 * $u)",
            "clicks_a": "floor({impressions_a} * (0.01 + 0.05 * $u))",
            "clicks_b": "floor({impressions_b} * (0.01 + 0.05 * $u))",
            "winner": "CASE WHEN {status} <> 'decided' THEN NULL WHEN $u < 0.45 THEN 'a' WHEN $u < 0.9 THEN 'b'"
            " ELSE 'tie' END",
            "started_at": "{created_at}",
            "ended_at": "CASE WHEN {status} <> 'running' THEN least($now, {started_at} + $u * interval '8 hours') END",
        },
        changing=("status", "winner", "ended_at", "p_value"),
    ),
    "editorial_trending_topics": Recipe(
        1200,
        columns={
            "topic": "$title(nouns)",
            "mentions": "floor(5 + 9000 * $skew)",
            "velocity": "($u - 0.4) * 12",
            "related_terms": "$some(tags)",
        },
        changing=("mentions", "velocity", "search_volume"),
    ),
    "editorial_content_recommendations": Recipe(
        5000,
        columns={
            "rank": "1 + floor($u * 8)",
            "score": "1 - $skew",
            "impressions": "floor(9000 * $skew)",
            "clicks": "floor({impressions} * 0.08 * $u)",
        },
        changing=("impressions", "clicks"),
    ),
    "editorial_article_content": Recipe(
        5000,
        columns={
            "revision": "1 + floor(9 * $skew)",
            "body": "$text",
            "structured_body": "jsonb_build_array(jsonb_build_object('type', 'p', 'text', $word(subjects)),"
            " jsonb_build_object('type', 'quote', 'text', $word(objects), 'by', $word(last_names)))",
            "word_count": "array_length(string_to_array({body}, ' '), 1)",
        },
        changing=("revision", "body", "body_sha256", "word_count"),
    ),
    "editorial_content_versions": Recipe(
        9000,
        columns={
            "version_number": "1 + floor(12 * $skew)",
            "diff": "jsonb_build_array("
            "jsonb_build_object('op', 'replace', 'at', floor($u * 4000), 'text', $word(objects)))",
            "characters_added": "floor(900 * $skew)",
            "characters_removed": "floor(400 * $skew)",
        },
    ),
    "editorial_media_assets": Recipe(
        5000,
        columns={
            "file_name": "$word(nouns) || '-' || $k || '.' || $word(formats)",
            "size_bytes": "floor(20000 + 40000000 * $skew)",
            "width": "CASE WHEN {asset_type} IN ('image', 'video', 'graphic') THEN 640 + floor($u * 4000) END",
            "height": "CASE WHEN {asset_type} IN ('image', 'video', 'graphic') THEN 480 + floor($u * 3000) END",
            "duration_seconds": "CASE WHEN {asset_type} IN ('video', 'audio') THEN 5 + 1800 * $skew END",
            "rights": "jsonb_build_object('owner', $word(publishers), 'web', true, 'print', $u < 0.5)",
            "keywords": "$some(tags)",
        },
        changing=("caption", "licensed_until"),
    ),
    "editorial_media_variants": Recipe(
        12000,
        columns={
            "format": "$word(formats)",
            "width": "?160 + floor($u * 1900)",
            "height": "?90 + floor($u * 1100)",
            "bitrate_kbps": "CASE WHEN {format} IN ('mp3', 'mp4') THEN 64 + floor($u * 6000) END",
            "size_bytes": "floor(4000 + 3000000 * $skew)",
            "storage_path": "'media/' || {rendition} || '/' || $k || '.' || {format}",
        },
        changing=("size_bytes", "sha256"),
    ),
    "editorial_content_media": Recipe(
        6000, columns={"position": "1 + floor($u * 9)"}, changing=("position", "focal_x", "focal_y")
    ),
    "editorial_media_collections": Recipe(
        60,
        Growth.SLOW,
        columns={"name": "initcap($word(adjectives) || ' ' || $word(nouns)) || ' ' || $k"},
        changing=("description", "is_public"),
    ),
    "editorial_media_collection_items": Recipe(1500, columns={"position": "1 + floor($u * 40)"}, changing=("note",)),
    "editorial_media_usage": Recipe(
        30000,
        columns={
            "cdn_region": "$word(regions)",
            "bytes_served": "floor(2000 + 9000000 * $skew)",
            "response_ms": "3 + 800 * $skew",
        },
    ),
}
