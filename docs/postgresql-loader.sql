-- Makes a loader for OwnLens with the rights that suffice. Run it in psql, as a superuser or the database's owner with
-- CREATEROLE, once for each database:
--
--     psql -d warehouse -f postgresql-loader.sql
--     psql -d warehouse -v loader=loader -v schema=public -v ledger_schema=ownlens -v creates_tables=off -f …
--
-- Then give the role its password with psql's `\password loader`, which sends a hash and not the password.

\set ON_ERROR_STOP on
\if :{?loader} \else \set loader loader \endif
\if :{?schema} \else \set schema public \endif
\if :{?ledger_schema} \else \set ledger_schema ownlens \endif
\if :{?creates_tables} \else \set creates_tables on \endif
SET client_min_messages = warning;

-- A role that can log in, and nothing else. A load is only as safe as its COMMIT: that one always waits for the disk.
SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = :'loader') AS is_new \gset
\if :is_new
CREATE ROLE :"loader" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE :"loader" SET synchronous_commit = on;
\endif

-- Rows are staged in a temporary table of the load's own transaction.
GRANT CONNECT, TEMPORARY ON DATABASE :"DBNAME" TO :"loader";

-- The ledger: made by the first load, and owned by the loader.
CREATE SCHEMA IF NOT EXISTS :"ledger_schema";
GRANT USAGE, CREATE ON SCHEMA :"ledger_schema" TO :"loader";

-- The tables. With CREATE the loader makes those that are missing, and owns them: it can add columns, foreign keys and
-- checks. CREATE is also what the views of a validation need.
CREATE SCHEMA IF NOT EXISTS :"schema";
GRANT USAGE ON SCHEMA :"schema" TO :"loader";
\if :creates_tables
GRANT CREATE ON SCHEMA :"schema" TO :"loader";
\endif

-- Tables that are there already and belong to someone else: grant, for each of them, what its strategy needs.
--
--     append, on_conflict error or skip    GRANT SELECT, INSERT ON public.t TO loader;
--     upsert, on_conflict update           GRANT SELECT, INSERT, UPDATE ON public.t TO loader;
--     overwrite, and every full refresh    GRANT SELECT, INSERT, UPDATE, DELETE ON public.t TO loader;
--     upsert with deletes: follow          GRANT SELECT, INSERT, UPDATE, DELETE ON public.t TO loader;
--     retention_days, with its strategy's  GRANT DELETE ON public.t TO loader;
--     the same where others reference t    GRANT UPDATE, DELETE ON public.t TO loader;
--
-- Deleting looks for rows that still reference those that go: it needs SELECT on the tables with foreign keys to t.
