"""The two scripts that `redis-hash` compares, each with a store of its own on one server, and that server."""
import hashlib
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = HERE.parent / "backends/redis/src/scripts"
PRELUDE = (SCRIPTS / "prelude.lua").read_text()
IDENTITY, CHANNEL, LANE, GENERATION = "sixpin", "sixpin:hints", "l0", 5
ABSENT, FOREIGN = "0" * 16, "9" * 16
RECORD_BYTES = 53  # as a held lock has; a record that is kept without claims has 13
PAGE = 1000


class Error(str):
    """What the server refused a command with."""


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 1 << 20)

    def __call__(self, *words):
        return self.send(encoded(words))

    def send(self, command):
        self.socket.sendall(command)
        return self.answer()

    def answer(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        return Error(rest.decode()) if kind == b"-" else rest


def encoded(words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


class Server:
    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = tempfile.TemporaryDirectory()
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder.name, "--save", "",
                   "--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(100):
            try:
                self.ask = Connection(self.port)
                return
            except ConnectionRefusedError:
                time.sleep(0.05)
        sys.exit("redis-server did not start: look whether it runs by hand")

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

    def busy_us(self):
        """Processor time of the main thread, which does all commands."""
        return int(pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/schedstat").read_text().split()[0]) / 1000

    def command_us(self):
        """The time that each command took since the statistics began, and how often it was called."""
        found = re.findall(r"cmdstat_(\S+?):calls=(\d+),usec=(\d+)", self.ask("INFO", "commandstats").decode())
        return {name: (int(us), int(calls)) for name, calls, us in found}

    def memory(self):
        return int(re.search(r"used_memory:(\d+)", self.ask("INFO", "memory").decode())[1])


class Way:
    """One of the two scripts, and the store that it has in the server."""

    def __init__(self, server, name, text):
        self.server, self.name, self.base = server, name, f"{name}:{{s0}}:"
        self.digest = server.ask("SCRIPT", "LOAD", PRELUDE + text)
        self.start()

    def start(self):
        ask = self.server.ask
        ask("SET", self.base + "root", IDENTITY + " and more")
        ask("HSET", self.base + "b:1", "s", "live", "n", 1)

    def commit(self, spec, fields, bytes_of_puts, bells="", long=False, **other):
        """The call of the script. `fields` are `r:` or `s:` and a name."""
        said = {"identity": IDENTITY, "seen": ABSENT, "generation": GENERATION, "acknowledged": ABSENT, "broker": "1", **other}
        keys = [self.base + "root", self.base + "high", self.base + "b:" + said["broker"]]
        arguments = [said["identity"], said["seen"], LANE, f"{said['generation']:020}", said["acknowledged"], CHANNEL]
        keys, arguments = self.rest(keys, arguments, spec, fields, bells, long)
        return encoded(["EVALSHA", self.digest, len(keys), *keys, *arguments, *bytes_of_puts])


class Now(Way):
    def __init__(self, server):
        super().__init__(server, "now", (SCRIPTS / "commit.lua").read_text())
        self.versions = server.ask("SCRIPT", "LOAD", PRELUDE + (SCRIPTS / "versions.lua").read_text())

    def rest(self, keys, arguments, spec, fields, bells, long):
        keys += [self.base + "ir", self.base + "is", *(self.base + field for field in fields)]
        return keys, arguments + [len(self.base) + 2, "long" if long else "", bells, spec]

    def put_foreign(self, field, value):
        self.server.ask("SET", self.base + field, value)

    def put_another_type(self, field):
        self.server.ask("DEL", self.base + field)
        self.server.ask("RPUSH", self.base + field, "x")

    def page(self, after, limit):
        """Names in order after one, as the product lists them, with their versions."""
        names = self.server.ask("ZRANGEBYLEX", self.base + "ir", after, "+", "LIMIT", 0, limit)
        keys = [self.base + "root", self.base + "high", *(self.base + "r:" + name.decode() for name in names)]
        heads = self.server.ask("EVALSHA", self.versions, len(keys), *keys, IDENTITY, ABSENT)[2]
        return list(zip(names, heads))

    def list(self):
        after, listed = "-", []
        while page := self.page(after, PAGE):
            listed += page
            after = b"(" + page[-1][0]
        return listed


class Hash(Way):
    def __init__(self, server):
        super().__init__(server, "hash", (HERE / "redis-hash.lua").read_text())

    def rest(self, keys, arguments, spec, fields, bells, long):
        return keys + [self.base + "records"], arguments + [bells, spec, *fields]

    def put_foreign(self, field, value):
        self.server.ask("HSET", self.base + "records", field, value)

    def put_another_type(self, field):
        self.server.ask("DEL", self.base + "records")
        self.server.ask("RPUSH", self.base + "records", "x")

    def list(self):
        """All fields, sorted because no order is promised. There is no way to list fewer."""
        cursor, listed = b"0", {}
        while True:
            cursor, found = self.server.ask("HSCAN", self.base + "records", cursor, "COUNT", PAGE)
            listed.update((name[2:], record[:16]) for name, record in zip(found[::2], found[1::2]) if name[:2] == b"r:")
            if cursor == b"0":
                return sorted(listed.items())


def field(number):
    """A name that is nowhere near that of the next number."""
    return f"r:default/jobs/{number * 2654435761 % 2**32:010}"


def record(number):
    """Bytes that nothing makes smaller: a server compresses what it dumps."""
    return hashlib.blake2b(b"%d" % number, digest_size=RECORD_BYTES).digest()
