-- The decoded columns with the bytes beside them, cleared: for reports, which read by shop and kind. An erased content is NULL.
CREATE VIEW events AS
SELECT s.topic, s.partition, r."offset", r.broker_time, r.type, r.subject, r.shop_id, r.event_time, r.validity,
       CASE WHEN r.generation IS NULL THEN r.value ELSE xored(r.value, k.secret, r.stream, r."offset", 0) END AS value
FROM all_records AS r JOIN streams AS s ON s.id = r.stream
LEFT JOIN LATERAL (
    SELECT key_of(COALESCE(r.key, convert_to(s.topic || '/' || s.partition || '/' || r."offset", 'UTF8')), r.generation) AS secret OFFSET 0
) AS k ON r.generation IS NOT NULL;
GRANT SELECT ON events TO {{role}}, deskline_auditor;
