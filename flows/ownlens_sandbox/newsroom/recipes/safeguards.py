"""Recipes of the security, audit and compliance domains."""

from __future__ import annotations

from .recipe import Growth, Recipe

SAFEGUARDS: dict[str, Recipe] = {
    "security_roles": Recipe(
        16,
        Growth.SLOW,
        columns={"name": "$title(roles)", "max_session_minutes": "?30 * (1 + floor($u * 16))"},
        changing=("description", "max_session_minutes"),
    ),
    "security_permissions": Recipe(
        56,
        Growth.SLOW,
        capacity=63,
        columns={
            "resource": "$every(resources, 7)",
            "action": "$nth(actions)",
            "is_sensitive": "{action} IN ('delete', 'export', 'administer')",
        },
        changing=("description",),
    ),
    "security_role_permissions": Recipe(300, Growth.SLOW, changing=("conditions",)),
    "security_user_roles": Recipe(
        1500,
        columns={
            "valid_from": "({created_at})::date",
            "valid_until": "CASE WHEN $u < 0.3 THEN {valid_from} + floor(30 + $u * 900)::int END",
        },
        changing=("is_active", "reason"),
    ),
    "security_api_keys": Recipe(
        150,
        Growth.SLOW,
        columns={
            "name": "$word(jobs) || ' ' || $k",
            "key_prefix": "'ok_' || substr(md5($k::text), 1, 8)",
            "scopes": "$some(scopes)",
            "rate_limit_per_minute": "60 * (1 + floor($u * 50))",
        },
        changing=("status", "last_used_at"),
    ),
    "security_api_key_usage": Recipe(
        36000,
        columns={
            "endpoint": "$word(endpoints)",
            "status_code": "CASE WHEN $u < 0.93 THEN 200 WHEN $u < 0.96 THEN 404 WHEN $u < 0.985 THEN 429 ELSE 500 END",
            "latency_ms": "2 + 900 * $skew",
            "request_bytes": "floor(200 + 4000 * $skew)",
            "response_bytes": "floor(300 + 900000 * $skew)",
        },
    ),
    "security_user_sessions": Recipe(
        8000,
        columns={
            "session_end": "?least($now, {session_start} + $skew * interval '50 minutes')",
            "mfa_passed": "$u < 0.9",
            "revoked_reason": "CASE WHEN $u < 0.03 THEN $word(reasons) END",
        },
    ),
    "audit_logs": Recipe(
        36000,
        columns={
            "action": "$word(audit_actions)",
            "resource_type": "$word(resource_types)",
            "resource_id": "?(floor($u * 90000))::text",
            "details": "jsonb_build_object('agent', $word(browsers), 'ms', floor(900 * $skew), 'tags', $some(tags))",
        },
    ),
    "audit_data_changes": Recipe(
        12000,
        columns={
            "table_name": "$word(tables)",
            "row_key": "(floor($u * 900000))::text",
            "changed_columns": "$some(column_names)",
            "old_values": "CASE WHEN {operation} <> 'insert' THEN jsonb_build_object('status', $word(beats, old)) END",
            "new_values": "CASE WHEN {operation} <> 'delete' THEN jsonb_build_object('status', $word(beats)) END",
            "transaction_id": "700000 + $k / 3",
        },
    ),
    "audit_data_access": Recipe(
        12000,
        columns={
            "table_name": "$word(tables)",
            "rows_returned": "floor(100000 * $skew)",
            "duration_ms": "1 + 30000 * $skew",
        },
    ),
    "audit_security_events": Recipe(
        3000,
        columns={
            "description": "$word(indicators) || ' while signing in'",
            "indicators": "$some(indicators)",
            "evidence": "?jsonb_build_object('attempts', floor($u * 30), 'country', $word(country_code))",
        },
    ),
    "audit_data_lineage": Recipe(
        3000,
        columns={
            "source_table": "$word(tables)",
            "target_table": "'mart_' || $word(tables)",
            "job_name": "$word(jobs)",
            "column_map": "jsonb_build_object($word(column_names), $word(column_names))",
            "rows_read": "floor(2000000 * $skew)",
            "rows_written": "floor({rows_read} * $u)",
            "started_at": "({created_at} - {duration_seconds} * interval '1 second')::timestamp",
            "duration_seconds": "1 + 1800 * $skew",
            "is_success": "$u < 0.97",
        },
    ),
    "audit_compliance_events": Recipe(1500, columns={"event_type": "$word(compliance_steps)"}),
    "compliance_user_consent": Recipe(
        5000,
        columns={
            "is_granted": "$u < 0.75",
            "text_version": "'2026-' || lpad((1 + floor($u * 9))::text, 2, '0')",
            "granted_at": "CASE WHEN {is_granted} THEN {created_at} END",
            "withdrawn_at": "CASE WHEN NOT {is_granted} THEN least($now, {created_at} + $u * interval '20 days') END",
            "evidence": "jsonb_build_object('banner', $word(variants), 'locale', $word(locales))",
        },
        changing=("is_granted", "granted_at", "withdrawn_at"),
    ),
    "compliance_data_subject_requests": Recipe(
        400,
        columns={
            "status": "CASE WHEN $u < 0.7 THEN 'completed' WHEN $u < 0.75 THEN 'refused' ELSE $label(open) END",
            "due_on": "({created_at})::date + 30",
            "completed_at": "CASE WHEN {status} IN ('completed', 'refused')"
            " THEN least($now, {created_at} + $u * interval '25 days') END",
        },
        changing=("status", "completed_at", "notes"),
    ),
    "compliance_retention_policies": Recipe(
        50,
        Growth.SLOW,
        columns={
            "name": "'Keep ' || {table_name} || ' for ' || {retention_days} || ' days'",
            "table_name": "$title(tables)",
            "retention_days": "30 * (1 + floor($u * 84))",
            "legal_basis": "$word(bases)",
        },
        changing=("is_active",),
    ),
    "compliance_retention_executions": Recipe(
        900,
        columns={
            "status": "CASE WHEN $u < 0.95 THEN 'succeeded' WHEN $u < 0.98 THEN 'partial' ELSE 'failed' END",
            "rows_scanned": "floor(3000000 * $skew)",
            "rows_affected": "floor({rows_scanned} * 0.1 * $u)",
            "duration_seconds": "1 + 900 * $skew",
            "error_message": "CASE WHEN {status} <> 'succeeded' THEN 'lock timeout after 30 s' END",
        },
    ),
    "compliance_anonymized_data": Recipe(
        600,
        columns={
            "table_name": "$word(tables)",
            "columns_anonymized": "$some(column_names)",
            "rows_anonymized": "floor(20000 * $skew)",
            "salt_sha256": "CASE WHEN {method} = 'hash' THEN $digest END",
        },
    ),
    "compliance_privacy_assessments": Recipe(
        120,
        Growth.SLOW,
        columns={
            "title": "'Assessment of ' || $word(objects)",
            "scope": "$some(data_categories)",
            "findings": "jsonb_build_array(jsonb_build_object('risk', $word(reasons), 'weight', floor($u * 9)))",
        },
        changing=("status", "residual_risk"),
    ),
    "compliance_breach_incidents": Recipe(
        60,
        Growth.SLOW,
        columns={
            "title": "initcap($word(indicators)) || ' #' || $k",
            "detected_at": "{created_at} - $u * interval '6 hours'",
            "contained_at": "CASE WHEN {status} <> 'open' THEN least($now, {created_at} + $u * interval '1 day') END",
            "is_reported": "{status} IN ('reported', 'closed')",
            "affected_users": "?floor(5000 * $skew)",
            "data_categories": "$some(data_categories)",
            "estimated_cost": "?{affected_users} * 164.5",
        },
        changing=("status", "contained_at", "is_reported"),
    ),
}
