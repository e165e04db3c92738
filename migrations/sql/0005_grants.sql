-- Why: who may do what. Nothing else is granted to anybody; nobody but the owner owns anything.
-- Locks: brief, on the catalogue. Old code: there is none.

REVOKE ALL ON FUNCTION anchor_lock_key(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION anchor_lock_key(uuid, text, text) TO caracal_sts, caracal_keeper, caracal_coordinator, caracal_operator;
GRANT SELECT ON schema_version TO
    caracal_sts, caracal_keeper, caracal_coordinator, caracal_operator, caracal_sequencer, caracal_snapshot,
    caracal_audit_writer, caracal_audit_reader, caracal_audit_operator, caracal_retention;

-- The control plane, one zone at a time.
GRANT SELECT, INSERT, UPDATE ON zones, anchors, applications, application_secrets, resources, bindings, policy_heads, sessions,
    idempotency_receipts TO caracal_coordinator;
GRANT SELECT, INSERT, DELETE ON binding_hosts TO caracal_coordinator;
GRANT SELECT, INSERT ON policies, revocations TO caracal_coordinator;
GRANT SELECT (zone_id, kid, alg, public_key, state, version, created_at) ON signing_keys TO caracal_coordinator;
GRANT SELECT ON authority_records TO caracal_coordinator;
GRANT INSERT (zone_id, lane, kind, payload, created_at), SELECT (zone_id, id) ON outbox TO caracal_coordinator;
GRANT SELECT ON positions, deployment TO caracal_coordinator;
GRANT SELECT, INSERT, UPDATE, DELETE ON readers TO caracal_coordinator;

-- The control plane across zones: which zones there are.
GRANT SELECT ON zones TO caracal_operator;
CREATE POLICY every_zone ON zones FOR SELECT TO caracal_operator USING (true);

-- The issuer.
GRANT SELECT ON zones, anchors, applications, application_secrets, resources, policies, policy_heads, sessions, signing_keys,
    zone_keys, authority_records TO caracal_sts;
GRANT INSERT ON authority_records TO caracal_sts;
GRANT INSERT (zone_id, kind, id) ON anchors TO caracal_sts;
GRANT INSERT (zone_id, lane, kind, payload, created_at), SELECT (zone_id, id) ON outbox TO caracal_sts;

-- The issuer's keeper of keys.
GRANT SELECT ON zones TO caracal_keeper;
GRANT UPDATE (state, version, updated_at) ON zones TO caracal_keeper;
GRANT SELECT, INSERT ON signing_keys, zone_keys TO caracal_keeper;
GRANT SELECT, INSERT ON anchors TO caracal_keeper;
GRANT INSERT (zone_id, lane, kind, payload, created_at), SELECT (zone_id, id) ON outbox TO caracal_keeper;
CREATE POLICY every_zone_to_keep ON zones FOR SELECT TO caracal_keeper USING (true);

-- The sequencer: every zone's outbox, and the order.
GRANT SELECT, DELETE ON outbox TO caracal_sequencer;
GRANT UPDATE (pos, payload) ON outbox TO caracal_sequencer;
GRANT SELECT, INSERT, UPDATE ON outbox_counters, deployment TO caracal_sequencer;
GRANT SELECT, INSERT, DELETE ON positions TO caracal_sequencer;
GRANT SELECT, DELETE ON readers TO caracal_sequencer;
CREATE POLICY every_zone ON outbox TO caracal_sequencer USING (true) WITH CHECK (true);
CREATE POLICY every_zone ON outbox_counters TO caracal_sequencer USING (true) WITH CHECK (true);

-- Snapshots: what enforcement points may know. Never a secret.
GRANT SELECT ON zones, anchors, resources, bindings, policies, policy_heads, deployment, positions TO caracal_snapshot;
GRANT SELECT (zone_id, kid, alg, public_key, state, version, created_at) ON signing_keys TO caracal_snapshot;
CREATE POLICY every_zone_for_snapshots ON zones FOR SELECT TO caracal_snapshot USING (true);
CREATE POLICY every_zone_for_snapshots ON anchors FOR SELECT TO caracal_snapshot USING (true);
CREATE POLICY every_zone_for_snapshots ON resources FOR SELECT TO caracal_snapshot USING (true);
CREATE POLICY every_zone_for_snapshots ON bindings FOR SELECT TO caracal_snapshot USING (true);
CREATE POLICY every_zone_for_snapshots ON policies FOR SELECT TO caracal_snapshot USING (true);
CREATE POLICY every_zone_for_snapshots ON policy_heads FOR SELECT TO caracal_snapshot USING (true);
CREATE POLICY every_zone_for_snapshots ON signing_keys FOR SELECT TO caracal_snapshot USING (true);

-- The ledger's writer: append, never change.
GRANT SELECT, INSERT ON audit_events, chain_keys, zone_keys, tamper_cases TO caracal_audit_writer;
GRANT SELECT, INSERT, UPDATE ON ledger_heads, journal_cursors, stream_positions TO caracal_audit_writer;
GRANT EXECUTE ON FUNCTION audit_make_partition(timestamptz) TO caracal_audit_writer;

-- The ledger's readers: one zone, or all of them.
GRANT SELECT ON audit_events, ledger_heads, journal_cursors, tamper_cases TO caracal_audit_reader, caracal_audit_operator;
GRANT SELECT ON chain_keys, zone_keys TO caracal_audit_reader;
CREATE POLICY every_zone ON audit_events FOR SELECT TO caracal_audit_operator USING (true);
CREATE POLICY every_zone ON ledger_heads FOR SELECT TO caracal_audit_operator USING (true);
CREATE POLICY every_zone ON journal_cursors FOR SELECT TO caracal_audit_operator USING (true);
CREATE POLICY every_zone ON tamper_cases FOR SELECT TO caracal_audit_operator USING (true);

-- Retention: what is past its time.
GRANT SELECT, DELETE ON authority_records, idempotency_receipts TO caracal_retention;
CREATE POLICY every_zone ON authority_records TO caracal_retention USING (true);
CREATE POLICY every_zone ON idempotency_receipts TO caracal_retention USING (true);
