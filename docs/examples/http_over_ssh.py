"""A web page of a host behind an SSH server, by Twisted's Agent and without the daemon.

python http_over_ssh.py jump@203.0.113.5:22 ~/.ssh/id_ed25519 ~/.ssh/known_hosts http://10.0.0.7/
"""

import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.client import Agent, readBody

from consoled.forwarding.agent import AgentEndpoints
from consoled.transports.ssh.host_keys import HostKeys
from consoled.transports.ssh.keys import KeyFiles
from consoled.transports.ssh.pool import SSHPool
from consoled.transports.ssh.values import Login, ProxyNode
from consoled.workers import ThreadWorker


async def fetch(reactor, server: str, key: str, known_hosts: str, url: str) -> None:
    """Prints what is at the URL."""
    user, _, place = server.partition("@")
    host, _, port = place.partition(":")
    login = Login(user, KeyFiles((Path(key),)), HostKeys.parse(known_hosts))
    route = (ProxyNode(host, int(port), login),)
    worker = ThreadWorker(reactor, "ssh")
    worker.start()
    pool = SSHPool(reactor, worker)
    pool.start()
    endpoints = AgentEndpoints(lambda name, number: pool.endpoint(route, name, number))
    agent = Agent.usingEndpointFactory(reactor, endpoints)
    try:
        answer = await agent.request(b"GET", url.encode())
        print(answer.code, (await readBody(answer)).decode("utf-8", "replace"))
    finally:
        await pool.stop()
        worker.stop()


if __name__ == "__main__":
    jump, key_file, hosts_file, wanted = sys.argv[1:]
    known = Path(hosts_file).read_text()
    react(lambda reactor: Deferred.fromCoroutine(fetch(reactor, jump, key_file, known, wanted)))
