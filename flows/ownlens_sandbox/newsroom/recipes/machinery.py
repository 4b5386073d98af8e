"""Recipes of the machine-learning, data-quality and configuration domains."""

from __future__ import annotations

from .recipe import Growth, Recipe

MACHINERY: dict[str, Recipe] = {
    "ml_model_registry": Recipe(
        40,
        Growth.SLOW,
        columns={
            "name": "$nth(models)",
            "version": "'1.' || $k",
            "framework": "$word(frameworks)",
            "artifact_uri": "'models/' || {name} || '/' || {version} || '.bin'",
            "hyperparameters": "jsonb_build_object('depth', floor(3 + $u * 12), 'rate', round($u::numeric, 4))",
        },
        changing=("stage", "validation_score"),
    ),
    "ml_model_features": Recipe(
        600,
        Growth.SLOW,
        columns={
            "name": "$word(nouns) || '_' || $k",
            "data_type": "$word(data_types)",
            "source_table": "$word(tables)",
            "transformations": "$some(transformations)",
        },
        changing=("importance",),
    ),
    "ml_model_training_runs": Recipe(
        500,
        columns={
            "status": "CASE WHEN $u < 0.88 THEN 'succeeded' ELSE $label(other) END",
            "started_at": "{created_at}",
            "finished_at": "CASE WHEN {status} <> 'running'"
            " THEN least($now, {started_at} + $skew * interval '5 hours') END",
            "training_rows": "floor(10000 + 5000000 * $skew)",
            "epochs": "?1 + floor($u * 60)",
            "final_loss": "?0.02 + $skew",
            "metrics": "jsonb_build_object('auc', round((0.6 + 0.38 * $u)::numeric, 4), 'loss', $skew)",
            "learning_curve": "ARRAY[0.5 + $u, 0.3 + 0.2 * $u, 0.1 + 0.2 * $u(c), 0.1 * $u(d)]",
        },
        changing=("status", "finished_at", "final_loss"),
    ),
    "ml_model_predictions": Recipe(
        24000,
        columns={
            "label": "?CASE WHEN {score} < 0.5 THEN 'no' ELSE 'yes' END",
            "latency_ms": "1 + 120 * $skew",
            "input_features": "jsonb_build_object('recency', floor($u * 30), 'views', floor(90 * $skew),"
            " 'bias', $u(b))",
            "is_shadow": "$u < 0.08",
        },
    ),
    "ml_model_monitoring": Recipe(
        3000,
        columns={
            "metric_name": "$word(metrics)",
            "metric_value": "$u",
            "threshold": "?0.5 + 0.4 * $u",
            "drift_score": "?$skew",
            "sample_size": "floor(100 + 20000 * $u)",
        },
        changing=("metric_value", "status"),
    ),
    "ml_model_ab_tests": Recipe(
        60,
        Growth.SLOW,
        columns={
            "name": "$word(models) || ' against ' || $word(models, b) || ' ' || $k",
            "traffic_share": "0.05 * (1 + floor($u * 10))",
            "samples": "floor(1000 + 400000 * $u)",
            "lift": "?($u - 0.45) * 0.2",
            "p_value": "?$skew",
            "started_on": "({created_at})::date",
            "ended_on": "CASE WHEN {status} IN ('finished', 'aborted') THEN {started_on} + floor($u * 28)::int END",
            "decision": "CASE WHEN {status} = 'finished' THEN $word(reasons) END",
        },
        changing=("status", "samples", "ended_on", "decision"),
    ),
    "data_quality_rules": Recipe(
        240,
        Growth.SLOW,
        columns={
            "table_name": "$word(tables)",
            "column_name": "?$word(column_names)",
            "definition": "jsonb_build_object('expect', $word(expectations), 'mostly', 0.9 + floor($u * 10) / 100)",
        },
        changing=("severity", "definition"),
    ),
    "data_quality_checks": Recipe(
        6000,
        columns={
            "status": "CASE WHEN $u < 0.94 THEN 'passed' WHEN $u < 0.99 THEN 'failed' ELSE 'error' END",
            "rows_checked": "floor(100 + 900000 * $skew)",
            "rows_failed": "CASE WHEN {status} = 'passed' THEN 0 ELSE floor(1 + {rows_checked} * 0.2 * $u) END",
            "success_rate": "100 - 100 * ({rows_failed})::numeric / {rows_checked}",
            "duration_ms": "floor(5 + 20000 * $skew)",
            "message": "CASE WHEN {status} <> 'passed' THEN {rows_failed} || ' rows failed: ' || $word(reasons) END",
        },
        changing=("status", "rows_failed", "success_rate", "message"),
    ),
    "data_quality_metrics": Recipe(
        4000,
        columns={
            "table_name": "$word(tables)",
            "metric_name": "$word(metrics)",
            "metric_date": "({check_timestamp})::date",
            "metric_value": "100000 * $skew",
            "previous_value": "?100000 * $skew",
        },
        changing=("metric_value",),
    ),
    "data_quality_alerts": Recipe(
        500,
        columns={
            "status": "CASE WHEN $u < 0.7 THEN 'resolved' ELSE $label(other) END",
            "channel": "$word(channels)",
            "acknowledged_at": "CASE WHEN {status} IN ('acknowledged', 'resolved')"
            " THEN least($now, {alert_timestamp} + $u * interval '40 minutes') END",
            "resolved_at": "CASE WHEN {status} = 'resolved'"
            " THEN least($now, {alert_timestamp} + (1 + $u) * interval '40 minutes') END",
        },
        changing=("status", "acknowledged_at", "resolved_at"),
    ),
    "data_validation_results": Recipe(
        8000,
        columns={
            "suite_name": "'nightly ' || $word(owners)",
            "expectation": "$word(expectations)",
            "is_success": "$u < 0.96",
            "observed_value": "?jsonb_build_object('rows', floor(90000 * $skew), 'min', $u - 0.5)",
            "unexpected_count": "CASE WHEN {is_success} THEN 0 ELSE floor(1 + 400 * $skew) END",
            "unexpected_percent": "CASE WHEN {is_success} THEN 0 ELSE 100 * $skew END",
        },
    ),
    "configuration_feature_flags": Recipe(
        60,
        Growth.SLOW,
        columns={
            "name": "$title(flags)",
            "rollout_percent": "CASE WHEN {is_enabled} THEN 5 * (1 + floor($u * 20)) ELSE 0 END",
            "segment_ids": "$numbers(30)",
            "variants": "jsonb_build_array($word(variants, a), $word(variants, b))",
        },
        changing=("is_enabled", "rollout_percent"),
    ),
    "configuration_feature_flag_history": Recipe(
        600,
        columns={
            "old_value": "CASE WHEN {change_type} <> 'create' THEN jsonb_build_object('percent', floor($u * 100)) END",
            "new_value": "jsonb_build_object('percent', floor($u * 100), 'enabled', {change_type} <> 'disable')",
        },
    ),
    "configuration_system_settings": Recipe(
        80,
        Growth.SLOW,
        capacity=144,
        columns={
            "setting_id": "$every(setting_sections, 12) || '.' || $nth(setting_names)",
            "section": "$every(setting_sections, 12)",
            "setting_value": "CASE {value_type} WHEN 'number' THEN to_jsonb(floor($u * 600)) WHEN 'switch'"
            " THEN to_jsonb($u < 0.5) WHEN 'text' THEN to_jsonb($word(locales)) WHEN 'list' THEN to_jsonb($some(tags))"
            " ELSE jsonb_build_object('mode', $word(variants)) END",
            "minimum": "CASE WHEN {value_type} = 'number' THEN 0 END",
            "maximum": "CASE WHEN {value_type} = 'number' THEN 600 END",
        },
        changing=("setting_value",),
    ),
    "configuration_system_settings_history": Recipe(
        400,
        columns={
            "old_value": "?to_jsonb(floor($u * 600))",
            "new_value": "to_jsonb(floor($u(new) * 600))",
            "ticket": "?'OPS-' || floor(1000 + $u * 8000)",
        },
    ),
}
