"""`python -m benchmarks.polling`: a worker that waits as arq's own loop does, to compare ours with.

It is the product's worker but for this one method: arq looks every `RUNCAST_POLL_DELAY_S` (0.5 s by default, as arq's
own) and hears no wake.
"""

from arq.worker import Worker

import runcast_worker.__main__
import runcast_worker.worker
from runcast_worker.doorbell import Doorbell


class Polling(Doorbell):
    """arq's loop in the place of ours."""

    main = Worker.main


if __name__ == "__main__":
    runcast_worker.worker.Doorbell = Polling  # type: ignore[attr-defined, misc]
    runcast_worker.__main__.main()
