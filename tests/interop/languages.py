"""The libraries, and how the programs of each language are set up and started: all of it as data."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
WORK = HERE.parents[1] / ".interop"  # everything fetched and built
PIP, INTERPRETER = (WORK / "python" / "bin" / name for name in ("pip", "python"))
MONO_CLIENT = "/usr/lib/mono/4.5/RabbitMQ.Client.dll"
JAVA = ("java", "-Xshare:auto", "-cp", f"{WORK}/java/classes:{WORK}/java/dependency/*")


@dataclass(frozen=True)
class Language:
    name: str
    commands: tuple[str, ...]  # what must be on the machine
    packages: tuple[str, ...]  # Debian's packages that bring them
    setup: tuple[tuple[str, ...], ...]  # run in `directory`, in this order
    environ: dict[str, str] = field(default_factory=dict)
    folder: str = ""  # where its programs are, when not by its name
    on_request: bool = False  # setting it up takes minutes: only where it is named

    @property
    def directory(self) -> Path:
        if self.folder:
            return HERE / self.folder
        return HERE / self.name.replace("#", "sharp").replace("Node.js", "node").lower()

    def prepare(self) -> str:
        """Fetches and builds what the programs need. Nothing, or why they cannot be run."""
        missing = self._missing()
        if missing:
            _install(self.packages)
            missing = self._missing()
        if missing:
            return (
                f"there is no {missing[0]} on this machine, and Debian's {' '.join(self.packages)} cannot be installed"
            )
        WORK.mkdir(exist_ok=True)
        for command in self.setup:
            ended = _run(command, cwd=self.directory, env={**os.environ, **self.environ})
            if ended.returncode:
                return f"{' '.join(command)}: {(ended.stdout + ended.stderr).strip()[-600:]}"
        return ""

    def _missing(self) -> list[str]:
        """Commands not found, and files, which are named by their full path."""
        return [command for command in self.commands if not shutil.which(command) and not Path(command).exists()]


def _install(packages: tuple[str, ...]) -> None:
    """As root on Debian; elsewhere the caller says what is missing."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        _run(("apt-get", "update", "-qq"), env=environ)
        _run(("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages), env=environ)


def _run(
    command: tuple[str, ...], cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=900, check=False)


@dataclass(frozen=True)
class Library:
    """A client library, or a framework on top of one: the program's command, to which the mode is appended."""

    name: str
    version: str
    language: Language
    command: tuple[str, ...]

    @property
    def directory(self) -> Path:
        return self.language.directory

    @property
    def environ(self) -> dict[str, str]:
        return {**self.language.environ, "INTEROP_LIBRARY": self.name}


JAVA_LANGUAGE = Language(
    "Java",
    ("java", "mvn"),
    ("default-jdk-headless", "maven"),
    (("mvn", "-q", "-B", "compile", "dependency:copy-dependencies"),),
)

GO = Language("Go", ("go",), ("golang-go",), (("sh", "setup.sh"),))
NODE = Language(
    "Node.js",
    ("node", "npm"),
    ("nodejs", "npm"),
    (
        ("mkdir", "-p", f"{WORK}/node"),
        ("cp", "package.json", f"{WORK}/node"),
        ("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", f"{WORK}/node"),
    ),
    {"NODE_PATH": f"{WORK}/node/node_modules"},
)
PYTHON = Language(
    "Python",
    (sys.executable,),
    (),
    (
        (sys.executable, "-m", "venv", str(PIP.parents[1])),
        (str(PIP), "install", "-q", "--disable-pip-version-check", "-r", "requirements.txt"),
    ),
)
RUBY = Language("Ruby", ("ruby", "/usr/share/doc/ruby-bunny"), ("ruby", "ruby-bunny"), ())
CSHARP = Language(
    "C#",
    ("mcs", "mono", MONO_CLIENT),
    ("mono-mcs", "mono-runtime", "libmono-rabbitmq4.0-cil"),
    (
        ("mkdir", "-p", f"{WORK}/csharp"),
        ("mcs", f"-r:{MONO_CLIENT}", "-r:Mono.Security", f"-out:{WORK}/csharp/program.exe", "Program.cs", "Parcel.cs"),
    ),
    {"XDG_CONFIG_HOME": f"{WORK}/csharp/config"},  # where the program keeps the authorities that it trusts
)

# Tools in their own right, each set up apart.
PROMETHEUS = Language("Prometheus", ("prometheus",), ("prometheus",), (), folder="python")
TELEGRAF = Language(
    "Telegraf",
    ("go",),
    ("golang-go",),
    (("sh", "setup.sh"),),
    {"TELEGRAF": f"{WORK}/telegraf/telegraf"},
    on_request=True,
)
KEDA = Language("KEDA", ("go",), ("golang-go",), (("sh", "setup.sh"),), on_request=True)
TERRAFORM = Language(
    "Terraform",
    ("go",),
    ("golang-go",),
    (("sh", "setup.sh"),),
    {"TF_CLI_CONFIG_FILE": f"{WORK}/terraform/terraformrc"},
    on_request=True,
)
SPRING = Language(
    "Spring",
    ("java", "mvn"),
    ("default-jdk-headless", "maven"),
    (("mvn", "-q", "-B", "compile", "dependency:copy-dependencies"),),
)
DATADOG = Language("Datadog", (sys.executable,), (), (("sh", "setup.sh"),), on_request=True)
DATADOG_CHECK = Language(
    "Datadog-check",
    (sys.executable, "curl"),
    ("curl",),
    (("sh", "check.sh"),),
    {"PYTHONPATH": f"{WORK}/datadog/check"},
    folder="datadog",
    on_request=True,
)
ADMIN = Language(
    "rabbitmqadmin",
    ("cargo",),
    ("cargo", "libssl-dev", "pkg-config"),
    (("sh", "setup.sh"),),
    {"RABBITMQADMIN": f"{WORK}/rabbitmqadmin/bin/rabbitmqadmin"},
    on_request=True,
)
CONTAINERS = Language(
    "testcontainers",
    ("java", "mvn"),
    ("default-jdk-headless", "maven"),
    (("sh", "setup.sh"),),
    {"PYTHONPATH": str(HERE / "python")},
    on_request=True,
)

LIBRARIES = (
    Library("amqp-client", "5.37.1", JAVA_LANGUAGE, (*JAVA, "interop.AmqpClient")),
    Library("amqp091-go", "1.16.0", GO, (f"{WORK}/go/amqp091-go",)),
    Library("streadway", "1.1.0", GO, (f"{WORK}/go/amqp",)),
    Library("amqplib", "2.3.1", NODE, ("node", "amqplib.js")),
    Library("pika", "1.4.4", PYTHON, (str(INTERPRETER), "pika_program.py")),
    Library("aio-pika", "10.2.1", PYTHON, (str(INTERPRETER), "aio_pika_program.py")),
    Library("bunny", "2.19.0", RUBY, ("ruby", "bunny.rb")),
    Library("RabbitMQ.Client", "Mono 6.8", CSHARP, ("mono", f"{WORK}/csharp/program.exe")),
)

# What asks the HTTP API.
TOOLS = (
    Library("rabbit-hole", "2.12.0", GO, (f"{WORK}/go/rabbit-hole",)),
    Library("Hop", "5.4.0", JAVA_LANGUAGE, (*JAVA, "interop.Hop")),
    Library("Flower", "2.2.0", PYTHON, (str(INTERPRETER), "flower_program.py")),
    Library("Prometheus", "2.42.0", PROMETHEUS, (sys.executable, str(HERE / "python" / "prometheus_program.py"))),
    Library(
        *("Spring Boot", "4.0.7", SPRING),
        ("java", "-Xshare:auto", "-cp", f"{WORK}/spring/classes:{WORK}/spring/dependency/*", "interop.Health"),
    ),
    Library("Telegraf", "1.37.2", TELEGRAF, (sys.executable, str(HERE / "python" / "telegraf_program.py"))),
    Library(
        *("Datadog", "38.7.0", DATADOG),
        (f"{WORK}/datadog/bin/python", str(HERE / "python" / "datadog_program.py")),
    ),
    Library(
        *("Datadog-check", "03d2d30", DATADOG_CHECK),
        (f"{WORK}/datadog/bin/python", str(HERE / "python" / "datadog_check_program.py")),
    ),
    Library("rabbitmqadmin", "2.35.0", ADMIN, (sys.executable, str(HERE / "python" / "rabbitmqadmin_program.py"))),
    Library("KEDA", "2.21.0", KEDA, (f"{WORK}/keda/keda",)),
    Library("Terraform", "1.11.4", TERRAFORM, (sys.executable, str(HERE / "python" / "terraform_program.py"))),
    Library(
        *("testcontainers-java", "2.0.5", CONTAINERS),
        ("java", "-cp", f"{WORK}/testcontainers/classes:{WORK}/testcontainers/dependency/*", "interop.Containers"),
    ),
    Library(
        *("testcontainers-python", "4.15.0", CONTAINERS),
        (f"{WORK}/testcontainers/python/bin/python", str(HERE / "python" / "testcontainers_program.py")),
    ),
)

# On top of the libraries. What each of them has to do is in runner.TASKS.
FRAMEWORKS = (
    Library("spring-amqp", "4.1.2", JAVA_LANGUAGE, (*JAVA, "interop.Spring")),
    Library("amqp-connection-manager", "5.0.0", NODE, ("node", "amqp_connection_manager.js")),
    Library("Celery", "5.7.0", PYTHON, (str(INTERPRETER), "celery_program.py")),
    Library("kombu", "5.7.0", PYTHON, (str(INTERPRETER), "kombu_program.py")),
    Library("dramatiq", "2.2.1", PYTHON, (str(INTERPRETER), "dramatiq_program.py")),
    Library("FastStream", "0.7.8", PYTHON, (str(INTERPRETER), "faststream_program.py")),
    Library("taskiq", "0.13.0", PYTHON, (str(INTERPRETER), "taskiq_program.py")),
)
