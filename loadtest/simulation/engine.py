"""A simulated engine that schedules as vLLM 0.32 does: what runs first, in the order it came; then what waits.

Prompts are computed in chunks under one token budget a step. A sequence takes KV blocks as it grows, besides a constant
number; where none is free the newest running sequence is put back to the head of the queue and computed anew. A step
takes a + b * tokens + c * KV tokens. What prompts share is declared by them as ids of blocks of `PREFIX_TOKENS`; the
KV blocks of a shared prefix are counted for each sequence, so that memory is a little scarcer than in the real one.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from server.admission.policy.engine_model import StepCosts
from server.generation.engine_state import EngineReport, EngineSize

PREFIX_TOKENS = 512


@dataclass(slots=True, eq=False)
class Running:
    """One sequence. `output` is how long its answer is going to be, which nobody outside the engine knows."""

    owner: object
    prompt: int
    output: int
    prefix: Sequence[int] = ()
    computed: int = 0
    made: int = 0
    blocks: int = 0
    cached: int = 0
    preemptions: int = 0
    aborted: bool = False


@dataclass(slots=True)
class Step:
    """What a step did. `tokens` has each sequence that made one."""

    seconds: float
    report: EngineReport
    tokens: list[Running] = field(default_factory=list)
    finished: list[Running] = field(default_factory=list)
    released: list[Running] = field(default_factory=list)


class SimulatedEngine:
    """`speed` gives a factor on the time of steps by the time; `long_prefill` is vLLM's threshold, 0 for none."""

    def __init__(
        self,
        size: EngineSize,
        costs: StepCosts,
        *,
        long_prefill: int = 0,
        speed: Callable[[float], float] = lambda now: 1.0,
    ) -> None:
        self.size = size
        self.costs = costs
        self.free = size.blocks
        self.waiting: deque[Running] = deque()
        self.running: list[Running] = []
        self.preemptions = 0
        self._long_prefill = long_prefill or size.max_model_len
        self._speed = speed
        self._known: OrderedDict[int, None] = OrderedDict()
        self._known_most = size.kv_tokens // PREFIX_TOKENS
        self._aborting = 0
        self._scheduled: list[tuple[Running, int]] | None = None
        self._report: EngineReport | None = None
        self._seconds = 0.0
        self._idle = True

    @property
    def stepping(self) -> bool:
        """Whether a step is under way."""
        return self._scheduled is not None

    def submit(self, sequence: Running) -> None:
        """The sequence waits from now on; it takes part in the next step at the earliest."""
        self.waiting.append(sequence)

    def abort(self, sequence: Running) -> None:
        """The sequence is let go at the end of the step that is under way, which names it in `released`."""
        self._aborting += not sequence.aborted
        sequence.aborted = True

    def begin(self, now: float) -> float | None:
        """Starts a step; its length in seconds, None if there is nothing to do."""
        assert self._scheduled is None
        size = self.size
        scheduled: list[tuple[Running, int]] = []
        budget, preempted, decoding = size.step_tokens, 0, 0
        index, running = 0, self.running
        while index < len(running) and budget:
            sequence = running[index]
            need = min(sequence.prompt + sequence.made - sequence.computed, self._long_prefill, budget)
            lost = self._grow(sequence, sequence.computed + need)
            preempted += lost
            if index >= len(running):
                break  # it was the newest itself
            scheduled.append((sequence, need))
            decoding += sequence.made > 0 and need == 1
            budget -= need
            index += 1
        while not preempted and self.waiting and budget and len(running) < size.sequences:
            sequence = self.waiting[0]
            hit = self._hit(sequence)
            need = min(sequence.prompt + sequence.made - hit, self._long_prefill, budget)
            blocks = size.footprint(hit + need) // size.block_tokens
            if blocks > self.free:
                break
            self.waiting.popleft()
            sequence.computed, sequence.blocks = hit, blocks
            if not sequence.made:
                sequence.cached = hit
            self.free -= blocks
            running.append(sequence)
            scheduled.append((sequence, need))
            budget -= need
        if not scheduled:
            self._idle = True
            return None
        self.preemptions += preempted
        tokens = size.step_tokens - budget
        used = size.blocks - self.free
        self._seconds = self.costs.seconds(tokens, used * size.block_tokens) * self._speed(now)
        self._scheduled = scheduled
        self._report = EngineReport(
            step_seconds=None if self._idle else self._seconds,
            prefill_tokens=tokens - decoding,
            decode_tokens=decoding,
            running=len(running),
            waiting=len(self.waiting),
            kv_used=used / size.blocks,
            preempted=preempted,
        )
        self._idle = False
        return self._seconds

    def end(self) -> Step:
        """Ends the step that is under way."""
        assert self._scheduled is not None
        assert self._report is not None
        step = Step(self._seconds, self._report)
        for sequence, tokens in self._scheduled:
            if sequence.aborted:
                continue
            sequence.computed += tokens
            if sequence.computed < sequence.prompt + sequence.made:
                continue
            if not sequence.made:
                self._remember(sequence)
            sequence.made += 1
            step.tokens.append(sequence)
            if sequence.made >= sequence.output:
                step.finished.append(sequence)
        self._scheduled = None
        if step.finished:
            done = set(map(id, step.finished))
            for sequence in step.finished:
                self._release(sequence)
            self.running = [each for each in self.running if id(each) not in done]
        step.released = self.release_aborted()
        return step

    def release_aborted(self) -> list[Running]:
        """Lets go of what was aborted. Between steps."""
        if not self._aborting:
            return []
        gone = [each for each in (*self.running, *self.waiting) if each.aborted]
        self.running = [each for each in self.running if not each.aborted]
        self.waiting = deque(each for each in self.waiting if not each.aborted)
        for sequence in gone:
            self._release(sequence)
        self._aborting = 0
        return gone

    def _grow(self, sequence: Running, tokens: int) -> int:
        """Gives a running sequence the blocks that it needs; how many were preempted for it, itself perhaps."""
        size = self.size
        held = (sequence.blocks - size.constant_blocks) * size.block_tokens
        if tokens <= held:
            return 0
        blocks = size.footprint(tokens) // size.block_tokens
        lost = 0
        while blocks - sequence.blocks > self.free:
            victim = self.running.pop()
            self._release(victim)
            victim.computed, victim.preemptions = 0, victim.preemptions + 1
            self.waiting.appendleft(victim)
            lost += 1
            if victim is sequence:
                return lost
        self.free -= blocks - sequence.blocks
        sequence.blocks = blocks
        return lost

    def _release(self, sequence: Running) -> None:
        self.free += sequence.blocks
        sequence.blocks = 0

    def _hit(self, sequence: Running) -> int:
        blocks = 0
        for each in sequence.prefix:
            if each not in self._known:
                break
            self._known.move_to_end(each)
            blocks += 1
        return min(blocks * PREFIX_TOKENS, sequence.prompt - 1)

    def _remember(self, sequence: Running) -> None:
        for each in sequence.prefix:
            self._known[each] = None
            self._known.move_to_end(each)
        while len(self._known) > self._known_most:
            self._known.popitem(last=False)
