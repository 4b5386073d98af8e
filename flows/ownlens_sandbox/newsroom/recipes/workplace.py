"""Recipes of the company domain."""

from __future__ import annotations

from .recipe import Growth, Recipe

WORKPLACE: dict[str, Recipe] = {
    "company_departments": Recipe(
        30,
        Growth.SLOW,
        columns={
            "name": "$title(departments)",
            "cost_center": "'CC-' || (1000 + $k)",
            "annual_budget": "?100000 + 4000000 * $skew",
            "is_editorial": "$k % 3 <> 0",
        },
        changing=("annual_budget",),
    ),
    "company_employees": Recipe(
        500,
        Growth.SLOW,
        columns={
            "full_name": "$word(first_names) || ' ' || $word(last_names)",
            "job_title": "$word(job_titles)",
            "left_on": "CASE WHEN $u < 0.06 THEN greatest({hired_on}, $today - floor($u(days) * 200)::int) END",
            "skills": "$some(skills)",
            "weekly_hours": "CASE WHEN $u < 0.7 THEN 38.5 ELSE 12 + floor($u * 20) END",
        },
        changing=("job_title", "weekly_hours", "left_on"),
    ),
    "company_internal_content": Recipe(
        600,
        columns={
            "title": "initcap($word(adjectives)) || ' ' || $word(nouns) || ': ' || $word(objects)",
            "body": "$text",
            "visible_from": "?({created_at})::timestamp",
        },
        changing=("title", "body", "is_pinned"),
    ),
    "company_content_performance": Recipe(
        2400,
        columns={
            "views": "floor(2 + 400 * $skew)",
            "unique_viewers": "floor({views} * 0.8)",
            "acknowledgements": "floor({unique_viewers} * $u)",
            "reactions": "jsonb_build_object('👍', floor(40 * $skew), '❤', floor(9 * $skew))",
        },
        changing=("views", "unique_viewers", "acknowledgements"),
    ),
    "company_department_performance": Recipe(
        500,
        columns={
            "headcount": "4 + floor($u * 60)",
            "articles_published": "floor(30 * $skew)",
            "internal_posts": "floor(6 * $skew)",
            "spend": "100 * floor(90 * $skew)",
            "hours_worked": "{headcount} * (5 + 3 * $u)",
            "satisfaction": "?1 + 4 * $u",
        },
        changing=("hours_worked", "spend"),
    ),
    "company_content_events": Recipe(
        12000,
        columns={
            "channel": "$word(channels)",
            "duration_seconds": "CASE WHEN {event_type} = 'view' THEN 1 + 600 * $skew END",
        },
    ),
    "company_employee_engagement": Recipe(
        5600,
        columns={
            "logins": "floor($u * 6)",
            "posts_read": "floor(20 * $skew)",
            "comments": "floor(8 * $skew)",
            "meetings_minutes": "floor($u * 20) * 15",
            "focus_minutes": "?floor($u * 16) * 15",
            "active_hours": "$numbers(24)",
        },
        changing=("posts_read", "comments", "engagement_score"),
    ),
    "company_communications_analytics": Recipe(
        180,
        capacity=10,
        columns={
            "channel": "$nth(channels)",
            "messages_sent": "1 + floor($u * 40)",
            "recipients": "{messages_sent} * (20 + floor($u * 400))",
            "opened": "floor({recipients} * (0.2 + 0.6 * $u))",
            "clicked": "floor({opened} * 0.3 * $u)",
            "open_rate": "({opened})::numeric / {recipients}",
            "top_subjects": "$some(objects)",
        },
        changing=("opened", "open_rate"),
    ),
}
