-- Terms of followers: the token of the newest one. Who books with an older one is refused (runtime/postgres/fence.py).
CREATE TABLE rewards.fence (
    name text PRIMARY KEY,
    token bigint NOT NULL CHECK (token > 0)
);
