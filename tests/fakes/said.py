"""What a program told a person, one sentence after the other."""

import threading


class Said(list[str]):
    """Takes sentences from any thread; others wait for one."""

    def __init__(self, patience_s: float) -> None:
        super().__init__()
        self._patience_s = patience_s
        self._changed = threading.Condition()

    def __call__(self, sentence: str) -> None:
        with self._changed:
            self.append(sentence)
            self._changed.notify_all()

    def await_one(self, part: str) -> None:
        """Wait until a sentence has this in it; fail when none comes."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(part in one for one in self), self._patience_s), list(self)
