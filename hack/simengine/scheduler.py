"""Which sequences run in a step and how many tokens they bring: continuous batching."""

from collections import deque
from dataclasses import dataclass

from .plan import Arguments, Pool


@dataclass
class Sequence:
    """One request in the engine."""

    id: str
    prompt: int  # tokens to fill in before anything is sampled
    wanted: int  # tokens to generate
    filled: int = 0  # of the prompt, in the cache
    decoded: int = 0  # sampled tokens that came back as input, in the cache
    generated: int = 0

    @property
    def cached(self) -> int:
        """Tokens in the cache."""
        return self.filled + self.decoded

    @property
    def finished(self) -> bool:
        """Whether everything is generated."""
        return self.generated >= self.wanted


@dataclass(frozen=True)
class Step:
    """What one step computes."""

    tokens: int
    sampled: "list[Sequence]"  # sequences that get a token


class Scheduler:
    """First come, first served; the newest is preempted when the cache is full."""

    def __init__(self, arguments: Arguments, pool: Pool) -> None:
        self._arguments, self._pool = arguments, pool
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.preempted = 0

    def add(self, sequence: Sequence) -> None:
        """Queue a request."""
        self.waiting.append(sequence)

    def abort(self, name: str) -> None:
        """Forget a request."""
        self.running = [s for s in self.running if s.id != name]
        self.waiting = deque(s for s in self.waiting if s.id != name)

    def usage(self) -> float:
        """Share of the cache in use."""
        return sum(map(self._blocks, self.running)) / max(1, self._pool.blocks)

    def step(self) -> Step | None:
        """Plan the next step and account for its tokens; None where nothing waits."""
        prefill = self._prefill_only() if not self._arguments.chunked else None
        step = prefill or self._mixed()
        if step is None:
            return None
        for sequence in step.sampled:
            sequence.generated += 1
        self.running = [s for s in self.running if not s.finished]
        return step

    def _prefill_only(self) -> Step | None:
        """Without chunked prefill: whole prompts, before anything is decoded."""
        budget, batch = self._arguments.batched_tokens, []
        while self.waiting and self._admits(self.waiting[0], self.waiting[0].prompt):
            if self.waiting[0].prompt > budget:
                break
            sequence = self.waiting.popleft()
            budget -= sequence.prompt
            sequence.filled = sequence.prompt
            self.running.append(sequence)
            batch.append(sequence)
        if not batch:
            return None
        return Step(self._arguments.batched_tokens - budget, batch)

    def _mixed(self) -> Step | None:
        budget = self._arguments.batched_tokens
        sampled: list[Sequence] = []
        for sequence in list(self.running):
            if budget <= 0:
                break
            if sequence not in self.running:  # preempted by one before it
                continue
            taken = self._advance(sequence, budget)
            budget -= taken
            if taken and sequence.filled == sequence.prompt:
                sampled.append(sequence)
        while self._arguments.chunked and budget > 0 and self.waiting:
            sequence = self.waiting[0]
            if not self._admits(sequence, min(budget, sequence.prompt)):
                break
            self.waiting.popleft()
            self.running.append(sequence)
            budget -= self._advance(sequence, budget)
            if sequence.filled == sequence.prompt:
                sampled.append(sequence)
        tokens = self._arguments.batched_tokens - budget
        sampled = [s for s in sampled if s in self.running]
        return Step(tokens, sampled) if tokens else None

    def _advance(self, sequence: Sequence, budget: int) -> int:
        """Room for the next token or the next part of the prompt; preempts where it must."""
        left = sequence.prompt - sequence.filled
        taken = min(left, budget) if left else 1
        while not self._room(sequence, taken):
            victim = self.running.pop()
            victim.prompt += victim.decoded  # recomputed later with what it has generated
            victim.filled = victim.decoded = 0
            self.waiting.appendleft(victim)
            self.preempted += 1
            if victim is sequence:
                return 0
        if left:
            sequence.filled += taken
        else:
            sequence.decoded += 1
        return taken

    def _admits(self, sequence: Sequence, tokens: int) -> bool:
        return len(self.running) < self._arguments.sequences and self._room(sequence, tokens)

    def _room(self, sequence: Sequence, more: int) -> bool:
        others = sum(self._blocks(s) for s in self.running if s is not sequence)
        needed = -(-(sequence.cached + more) // self._pool.block_size)
        return others + needed <= self._pool.blocks

    def _blocks(self, sequence: Sequence) -> int:
        return -(-sequence.cached // self._pool.block_size)
