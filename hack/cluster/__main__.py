"""``python -m hack.cluster``: a test cluster from the shell."""

import argparse
import signal
import sys
import time
from pathlib import Path

from hack.cluster.build import programs
from hack.cluster.cluster import Cluster
from hack.cluster.errors import ClusterError
from hack.cluster.image import Files
from hack.cluster.requirements import (
    ensure_everywhere,
    ensure_real_node,
    real_node_unavailable,
)
from hack.cluster.say import say
from hack.cluster.state import known
from hack.cluster.sweep import marked, sweep, sweep_leftovers

_DEFAULT = "dev"


def main() -> int:
    """Parse the arguments, run the command, turn errors into one message."""
    arguments = _parser().parse_args()
    try:
        arguments.run(arguments)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _build(_: argparse.Namespace) -> None:
    ensure_everywhere()
    reason = real_node_unavailable()
    if reason:
        say(f"without a real node: {reason}")
    else:
        ensure_real_node()
    programs(real_node=not reason)


def _up(arguments: argparse.Namespace) -> None:
    cluster = Cluster(
        real_node=arguments.real_node,
        labels=_pairs(arguments.label),
        resources=_pairs(arguments.resource),
        restart_backoff=arguments.restart_backoff,
        name=arguments.name,
        detached=arguments.detach,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster.start()
    print(f"export KUBECONFIG={cluster.kubeconfig}", flush=True)
    if arguments.detach:
        return
    say("Ctrl-C takes it away")
    try:
        while True:
            time.sleep(1)
            cluster.check()
    finally:
        cluster.stop()


def _down(arguments: argparse.Namespace) -> None:
    for gone in sweep_leftovers():
        say(f"cleaned up after cluster {gone}, which was left behind")
    for state in known():
        if arguments.all or state.id == arguments.name:
            sweep(state)
            say(f"cluster {state.id} is gone")


def _status(_: argparse.Namespace) -> None:
    for state in known():
        owner = f"owned by process {state.owner[0]}" if state.owner else "detached"
        names = ", ".join(sorted(marked(state.id).values())) or "no process"
        print(f"{state.id}\t{owner}\t{names}\t{state.kubeconfig}")


def _kubeconfig(arguments: argparse.Namespace) -> None:
    print(Cluster.attach(arguments.name).kubeconfig)


def _node_up(arguments: argparse.Namespace) -> None:
    cluster = Cluster.attach(arguments.name)
    cluster.start_real_node(
        _pairs(arguments.label), _pairs(arguments.resource), arguments.restart_backoff
    )


def _image(arguments: argparse.Namespace) -> None:
    files: Files = {inside: Path(outside) for inside, outside in _pairs(arguments.file).items()}
    Cluster.attach(arguments.name).image(arguments.image, files, tuple(arguments.command))


def _pairs(words: list[str]) -> dict[str, str]:
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise ClusterError(f"{word!r} is not KEY=VALUE")
        pairs[key] = value
    return pairs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hack.cluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    def named(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
        sub.add_argument("--name", default=_DEFAULT, help="of the cluster (default: %(default)s)")
        return sub

    def node(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
        sub.add_argument("--label", action="append", default=[], metavar="K=V", help="of the node")
        sub.add_argument(
            "--resource", action="append", default=[], metavar="NAME=N",
            help="extended resource of the node, as gpu.intel.com/i915=1",
        )  # fmt: skip
        sub.add_argument("--restart-backoff", metavar="DURATION", help="cap, as 2s")
        return named(sub)

    command("build", _build, "build the programs that are not in the cache")
    up = node(command("up", _up, "start a cluster and keep it until Ctrl-C"))
    up.add_argument("--detach", action="store_true", help="return; it runs until `down`")
    up.add_argument("--real-node", action="store_true", help="with a kubelet and containerd")
    down = named(command("down", _down, "take a cluster away, and what crashed ones left"))
    down.add_argument("--all", action="store_true", help="every cluster of this user")
    command("status", _status, "list clusters and their processes")
    named(command("kubeconfig", _kubeconfig, "print the path of the kubeconfig"))
    node(command("node-up", _node_up, "add the real node to a cluster that runs"))
    image = named(command("image", _image, "make a local image on the real node"))
    image.add_argument("image", help="name:tag")
    image.add_argument("--file", action="append", default=[], metavar="INSIDE=PATH")
    image.add_argument("command", nargs="*", help="entrypoint")
    return parser


if __name__ == "__main__":
    sys.exit(main())
