-- A vault that was rotated has a further tree of keys, under one letter: generations from 1024 on are of the first such tree, from
-- 2048 on of the second (deskline_archive/veil.py).
CREATE OR REPLACE FUNCTION key_of(name bytea, generation smallint) RETURNS bytea
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    path text := left(encode(sha256(int2send(generation) || name), 'hex'), 16);
    at integer := 0;
    found bytea;
BEGIN
    IF generation >= 1024 THEN
        at := 1;
        path := chr(102 + generation / 1024) || path;
    END IF;
    SELECT secret INTO found FROM keyring WHERE prefix = left(path, at);
    IF found IS NOT NULL THEN
        path := substr(path, at + 1);
        RETURN sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(found || substr(path, 1, 1)::bytea) || substr(path, 2, 1)::bytea) || substr(path, 3, 1)::bytea) || substr(path, 4, 1)::bytea) || substr(path, 5, 1)::bytea) || substr(path, 6, 1)::bytea) || substr(path, 7, 1)::bytea) || substr(path, 8, 1)::bytea) || substr(path, 9, 1)::bytea) || substr(path, 10, 1)::bytea) || substr(path, 11, 1)::bytea) || substr(path, 12, 1)::bytea) || substr(path, 13, 1)::bytea) || substr(path, 14, 1)::bytea) || substr(path, 15, 1)::bytea) || substr(path, 16, 1)::bytea);
    END IF;
    LOOP
        at := at + 1;
        IF at > length(path) THEN
            IF NOT EXISTS (SELECT FROM keyring) THEN
                RAISE EXCEPTION 'the keys of the archive are not loaded'
                    USING ERRCODE = 'object_not_in_prerequisite_state',
                          HINT = 'The running archive loads them; without it: deskline archive keys.';
            END IF;
            RETURN NULL;
        END IF;
        SELECT secret INTO found FROM keyring WHERE prefix = left(path, at);
        EXIT WHEN found IS NOT NULL;
    END LOOP;
    FOR i IN at + 1 .. length(path) LOOP
        found := sha256(found || substr(path, i, 1)::bytea);
    END LOOP;
    RETURN found;
END $$;
