"""etcd: the shared configuration, who is alive, and what only one process may hold.

Start with client.py (`EtcdClient`): a thin typed interface over the library, with failover between the members.
settings.py says how to reach a cluster, watch.py follows a part of the tree and survives a quiet server.

Reading order: settings.py, errors.py, client.py, watch.py; then claims.py (the rule behind everything exclusive),
prefix_lease.py and election.py on it, and exclusive.py, which services see; then discovery.py and balancing.py; then
config_tree.py and config_source.py.

May import: runtime.clock, runtime.config, runtime.errors, runtime.exclusive, runtime.logs, runtime.process,
runtime.rpc; etcd3aio, grpc, msgspec.
"""
