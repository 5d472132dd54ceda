"""The actors of a sharded index: which one answers for which share, and who steps in for whom."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from typing import Any

from waterfill.scale.cluster import get, require_ray
from waterfill.scale.shard import Found, Generation, Shard

_TICK = 0.05  # seconds between looks for actors that are back
_PATIENCE = 60.0  # seconds to wait for an answer before pings, and for all to open a generation
_PING = 15.0  # seconds in which an actor that lives answers a ping
_LATE = 30.0  # seconds after which another actor is asked, without a deadline
_LATE_SHARE = 0.25  # of the time until a deadline, after which another actor is asked


class Replicas:
    """Actors, `replicas` for each share. Ray starts those again that die.

    Parameters
    ----------
    shares, replicas : int
    num_cpus : float
        Of each actor.
    """

    def __init__(self, shares: int, replicas: int, num_cpus: float) -> None:
        ray = require_ray()
        self._errors = (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError)
        actor = ray.remote(
            num_cpus=num_cpus, max_restarts=-1, max_concurrency=4, scheduling_strategy="SPREAD",
            concurrency_groups={"control": 1},
        )(Shard)  # fmt: skip
        self.shares = shares
        self._num_cpus = num_cpus
        self._actors = [actor.remote() for _ in range(shares * replicas)]
        self._down: dict[int, Any] = {}  # by number of the actor: what it answers when it is back
        self._turn = itertools.count()
        self._state = threading.Lock()

    def processes(self) -> list[int]:
        """Return the process of each actor; wait for those that are started again."""
        return [self._process(actor) for actor in self._actors]

    def _process(self, actor: Any) -> int:
        while True:
            try:
                return int(get(self._ping(actor)))
            except self._errors:
                time.sleep(_TICK)

    def prepare(self, generation: Generation) -> None:
        """Let all actors open a generation; one that is dead or late does so at its next search."""
        calls = [actor.prepare.remote(generation) for actor in self._actors]
        for call in require_ray().wait(calls, num_returns=len(calls), timeout=_PATIENCE)[0]:
            with contextlib.suppress(*self._errors):
                get(call)

    def forget(self, generation: Generation) -> None:
        """Let all actors close a generation."""
        for actor in self._actors:
            actor.forget.remote(generation.key)

    def search(
        self, generation: Generation, shares: list[Any], thresholds: Any, arguments: Any,
        deadline: float | None,
    ) -> dict[int, Found]:  # fmt: skip
        """Return the candidates of each share, of those only that answer before the deadline.

        Raises
        ------
        TimeoutError
            If there is no deadline, and for a minute no actor answers, not even a ping.
        Exception
            What happened in an actor, other than its death.
        """
        ray = require_ray()
        found: dict[int, Found] = {}
        running: dict[Any, tuple[int, int]] = {}  # by call: share, actor
        owed = list(range(len(shares)))
        start = alive = time.monotonic()
        patience = _LATE if deadline is None else _LATE_SHARE * (deadline - start)
        while len(found) < len(shares):
            for share in list(owed):
                number = self._choose(share)
                if number is not None:
                    owed.remove(share)
                    search = self._actors[number].search
                    call = search.remote(generation, shares[share], thresholds, arguments)
                    running[call] = share, number
            now = time.monotonic()
            if deadline is None and now - alive > _PATIENCE:
                self._require_a_sign_of_life(list(running))
                alive = now = time.monotonic()
            left = _TICK if deadline is None else min(_TICK, deadline - now)
            if left <= 0:
                break
            if not running:
                time.sleep(left)
                continue
            for call in ray.wait(list(running), timeout=left)[0]:
                share, number = running.pop(call)
                try:
                    found[share] = ray.get(call)
                    alive = time.monotonic()
                except self._errors:
                    self._set_down(number)
                    owed.append(share)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
            if now - start > patience:  # others are asked, too, of what is late
                late = {share: number for share, number in running.values() if share not in found}
                for number in late.values():
                    self._set_down(number)
                owed += [share for share in late if share not in owed]
                patience = float("inf")
        return found

    def _require_a_sign_of_life(self, calls: list[Any]) -> None:
        """Return once a call ends or an actor answers a ping; raise TimeoutError if none does.

        Long searches do not hold up pings. Actors that Ray has not started, for want of CPUs or of
        workers, answer none.
        """
        ray = require_ray()
        pings = [self._ping(actor) for actor in self._actors]
        end = time.monotonic() + _PING
        while pings and (left := end - time.monotonic()) > 0:
            for answer in ray.wait([*calls, *pings], timeout=left)[0]:
                if answer in calls:
                    return
                pings.remove(answer)
                with contextlib.suppress(*self._errors):
                    ray.get(answer)
                    return
        raise TimeoutError(
            f"expected an answer from one of {len(self._actors)} actors, each of num_cpus="
            f"{self._num_cpus:g}, got none for {_PATIENCE + _PING:.0f} seconds. `ray status` shows "
            "whether they wait for CPUs; timeout= returns what has been found by then"
        )

    def _choose(self, share: int) -> int | None:
        """Return an actor for a share: one of its replicas in turn, else any that lives."""
        own = range(share, len(self._actors), self.shares)
        first = next(self._turn) % len(own)
        others = [number for number in range(len(self._actors)) if number not in own]
        order = [*own[first:], *own[:first], *others]
        return next((number for number in order if not self._is_down(number)), None)

    @staticmethod
    def _ping(actor: Any) -> Any:
        """Ask for the number of the process. Searches that run do not delay the answer."""
        return actor.ping.options(concurrency_group="control").remote()

    def _set_down(self, number: int) -> None:
        with self._state:
            if number not in self._down:
                self._down[number] = self._ping(self._actors[number])

    def _is_down(self, number: int) -> bool:
        ray = require_ray()
        with self._state:
            answer = self._down.get(number)
            if answer is None:
                return False
            if not ray.wait([answer], timeout=0)[0]:
                return True
            try:
                ray.get(answer)
            except self._errors:
                self._down[number] = self._ping(self._actors[number])
                return True
            del self._down[number]
            return False

    def close(self) -> None:
        """End all actors."""
        ray = require_ray()
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []
