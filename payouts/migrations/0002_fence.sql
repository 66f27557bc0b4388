-- Terms of payers: the token of the newest one. Who writes with an older one is refused (runtime/postgres/fence.py).

CREATE TABLE fence (
    name text PRIMARY KEY,
    token bigint NOT NULL CHECK (token > 0)
);
