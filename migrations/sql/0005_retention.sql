-- What is needed to forget in time: indexes by age across zones.
--
-- Why: receipts, records and the anchors of mandates grow with use, and must be removed without reading what stays.
-- Lock: SHARE on two tables while the indexes are built.
-- Safe with older code: it does not look at them.

CREATE INDEX idempotency_receipts_created ON idempotency_receipts (created_at);
CREATE INDEX anchors_dead ON anchors (dead_until) WHERE dead_until IS NOT NULL AND kind IN ('mandate', 'record');
