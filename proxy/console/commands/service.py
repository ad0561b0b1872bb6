"""Commands about the service and its processes, as Momentum has them."""

from __future__ import annotations

import os
import platform
import signal

from proxy.console.errors import Refused
from proxy.console.people import Role
from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.console.served import Served, added, answers, done, sum_of
from proxy.console.version import VERSION, resident, system, word_size
from proxy.metrics.table import RESTARTS


def commands(served: Served) -> list[Command]:
    """Return the commands."""
    about = _Service(served)
    return [
        Command("version", "Print the program's version.", about.version),
        Command("sysinfo", "Print the version, the operating system and the machine.", about.sysinfo),
        Command("pid", "Print the supervisor's process id; signals go there.", about.pid),
        Command("workers", "List the processes: what each one serves, and since when.", about.workers),
        Command("memory", "Print the memory of each process, and what uses it.", about.memory),
        Command(
            "drain", "Turn new clients away with 421, or accept them again with `off`. Sessions continue.", about.drain,
            arguments="[off]", role=Role.OPERATE,
        ),
        Command(
            "shutdown", "Stop the service: sessions finish, and new clients are not accepted.", about.shutdown,
            role=Role.ADMIN,
        ),
        Command(
            "reopen logs", "Reopen the log file, as SIGUSR1 does.", about.reopen, role=Role.OPERATE
        ),
        Command("module list", "List the modules: whether each is enabled, and whether it is in shadow mode.",
            about.modules),
        Command(
            "module enable", "Use a module again.", about.enable, arguments="NAME", role=Role.OPERATE
        ),
        Command(
            "module disable", "Do not use a module until it is enabled or the configuration is loaded again.",
            about.disable, arguments="NAME", role=Role.OPERATE,
        ),
        Command(
            "shadow", "Only log what a module decides, or apply its decisions again.", about.shadow,
            arguments="MODULE on|off", role=Role.OPERATE,
        ),
        Command("limits show", "Print what is counted for a client, by address or network.", about.limits,
                arguments="CLIENT"),
        Command(
            "limits clear", "Forget what was counted for a client.", about.clear, arguments="CLIENT", role=Role.OPERATE,
        ),
    ]  # fmt: skip


class _Service:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def version(self, _call: Call) -> Result:
        return Result({"name": "Ringback", "version": VERSION}, f"Ringback {VERSION}")

    async def sysinfo(self, _call: Call) -> Result:
        uname = " ".join(platform.uname())
        value = {
            "version": VERSION, "word_size": word_size(), "product": "Ringback", "python": platform.python_version(),
            "os": system(), "uname": uname,
        }  # fmt: skip
        text = (
            f"Version: {VERSION} ({word_size()}-bit)\nProduct: Ringback\nPython: {value['python']}\n"
            f"OS: {value['os']}\nUname: {uname}"
        )
        return Result(value, text)

    async def pid(self, _call: Call) -> Result:
        return Result(self._served.supervisor, str(self._served.supervisor))

    async def workers(self, _call: Call) -> Result:
        processes = self._served.processes
        told = {each.process.pid: each for each in answers(await processes.ask("alive"))}
        known = {each.pid: each for each in processes.known}
        rows = []
        for role, pid in self._served.watched.processes():
            process, answer = known.get(pid), told.get(pid)
            leaves = process is not None and process.hello.generation < processes.newest
            rows.append(
                {
                    "process": process.name if process is not None else role,
                    "pid": pid,
                    "generation": process.hello.generation if process is not None else None,
                    "state": "leaving" if leaves else "serving",
                    "answers": role == "supervisor" or answer is not None,
                    "sessions": answer.answer["sessions"] if answer is not None and role == "worker" else None,
                    "seconds": answer.answer["seconds"] if answer is not None else None,
                }
            )
        restarts = {reason: cells[0] for (reason,), cells in self._served.watched.totals().of(RESTARTS).items()}
        lines = [*Result(rows).lines, "restarts: " + ", ".join(f"{count} {name}" for name, count in restarts.items())]
        return Result({"processes": rows, "restarts": restarts}, "\n".join(lines))

    async def memory(self, _call: Call) -> Result:
        told = await self._served.processes.ask("memory")
        held = {each.process.pid: each.answer for each in answers(told)}
        pids = {"supervisor": self._served.supervisor}
        pids |= {each.name: each.pid for each in self._served.processes.known}
        rows = [
            {"process": name, "pid": pid, "resident_octets": resident(pid), **held.get(pid, {})}
            for name, pid in pids.items()
        ]
        total = sum(row["resident_octets"] for row in rows)
        return Result({"processes": rows, "resident_octets": total})

    async def drain(self, call: Call) -> Result:
        off = call.arguments == ("off",)
        if call.arguments and not off:
            raise Refused("write drain, or drain off")
        told = await self._served.change("clients", "close", {"on": not off}, keeps=not off)
        sessions = sum_of(told)
        state = "new clients are taken" if off else "new clients get 421"
        return done(told, f"{state}; {sessions} sessions go on", takes_clients=off, sessions=sessions)

    async def shutdown(self, _call: Call) -> Result:
        os.kill(self._served.supervisor, signal.SIGTERM)
        return Result({"stops": True}, "shutting down")

    async def reopen(self, _call: Call) -> Result:
        os.kill(self._served.supervisor, signal.SIGUSR1)
        return Result({"reopened": True}, "logs reopened")

    async def modules(self, _call: Call) -> Result:
        told = answers(await self._served.ask("modules"))
        return Result(told[0].answer if told else [])

    async def enable(self, call: Call) -> Result:
        return await self._switched(call.arguments[0], "enable", on=True, keeps=False)

    async def disable(self, call: Call) -> Result:
        return await self._switched(call.arguments[0], "enable", on=False, keeps=True)

    async def shadow(self, call: Call) -> Result:
        name, state = call.arguments
        if state not in {"on", "off"}:
            raise Refused(f"write shadow {name} on, or shadow {name} off")
        return await self._switched(name, "shadow", on=state == "on", keeps=True)

    async def _switched(self, name: str, question: str, *, on: bool, keeps: bool) -> Result:
        told = await self._served.change(name, question, {"name": name, "on": on}, keeps=keeps)
        return done(told, "Success", module=name, on=on)

    async def limits(self, call: Call) -> Result:
        told = answers(await self._served.ask("limits", {"network": call.arguments[0]}))
        together = [each for each in told if each.answer["together"]][:1]  # each worker says the same
        counted = [("all", row) for each in together for row in each.answer["rates"]]
        counted += [(each.process.name, row) for each in told if not together for row in each.answer["rates"]]
        rates = [{"process": name, **row} for name, row in counted]
        value = {"client": call.arguments[0], "connections": added(told).get("connections", 0), "rates": rates}
        return Result(value)

    async def clear(self, call: Call) -> Result:
        told = await self._served.ask("clear_limits", {"network": call.arguments[0]})
        gone = sum_of(told)
        return done(told, f"cleared {gone} limits", cleared=gone)
