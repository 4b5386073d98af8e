CREATE DATABASE IF NOT EXISTS `ownlens`;
CREATE TABLE IF NOT EXISTS `ownlens`.`_ownlens_ledger` (`table` String,
    `sequence` UInt64,
    `load_id` String,
    `digest` String,
    `strategy` String,
    `rows` UInt64,
    `inserted` UInt64,
    `updated` UInt64,
    `unchanged` UInt64,
    `deleted` UInt64,
    `rejected` UInt64,
    `bytes` UInt64,
    `contract` String,
    `ownlens` String,
    `stage` UUID,
    `begun_at` DateTime64(6, 'UTC'),
    `committed_at` DateTime64(6, 'UTC'),
    `seconds` Float64,
    `life` UInt64,
    `target` UUID) ENGINE = ReplicatedMergeTree ORDER BY (`table`, `sequence`);
CREATE TABLE IF NOT EXISTS `ownlens`.`samples` (`id` Int64,
    `day` Date32,
    `title` Nullable(String),
    `created_at` DateTime64(6, 'UTC'),
    `updated_at` DateTime64(6, 'UTC'),
    `_ownlens_load` UInt64 MATERIALIZED 0,
    INDEX `_ownlens_load_index` `_ownlens_load` TYPE minmax GRANULARITY 1) ENGINE = ReplicatedMergeTree PARTITION BY toYYYYMM(`day`) ORDER BY `id` TTL `day` + toIntervalDay(400);
CREATE TABLE `ownlens`.`_ownlens_24baa7a731ce_7_00000000p1_aaaaaaaaaaaaaaaa_p0` (`id` Int64,
    `day` Date32,
    `title` Nullable(String),
    `created_at` DateTime64(6, 'UTC'),
    `updated_at` DateTime64(6, 'UTC'),
    `_ownlens_load` UInt64 MATERIALIZED 7,
    INDEX `_ownlens_load_index` `_ownlens_load` TYPE minmax GRANULARITY 1) ENGINE = MergeTree PARTITION BY toYYYYMM(`day`) ORDER BY `id` SETTINGS max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1, max_number_of_merges_with_ttl_in_pool = 0 COMMENT '_ownlens_24baa7a731ce_7_00000000p1_aaaaaaaaaaaaaaaa_p0';
RENAME TABLE `ownlens`.`_ownlens_24baa7a731ce_7_00000000p1_aaaaaaaaaaaaaaaa_p0` TO `ownlens`.`_ownlens_claim`;
ALTER TABLE `ownlens`.`samples` ATTACH PARTITION ID '202601' FROM `ownlens`.`_ownlens_claim`;
DROP TABLE IF EXISTS `ownlens`.`_ownlens_claim` SYNC;
