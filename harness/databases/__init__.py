"""Databases by name; each entry is a class or function of keyword options that makes a DB."""

DATABASES: dict[str, str] = {
    "atom": "harness.databases.in_memory:Atom",
    "noop": "harness.databases.in_memory:Noop",
    "consul": "harness.databases.consul:Consul",
    "redis": "harness.databases.redis:Redis",
    "reference": "harness.databases.reference:Reference",
    "etcd": "harness.databases.etcd:Etcd",
    "galera": "harness.databases.galera:Galera",
    "nats": "harness.databases.nats:Nats",
    "postgres": "harness.databases.postgres:Postgres",
    "pysyncobj": "harness.databases.pysyncobj:PySyncObj",
    "zookeeper": "harness.databases.zookeeper:ZooKeeper",
}
