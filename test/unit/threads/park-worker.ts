import { Epoll } from "../../../src/host/epoll.ts";
import { MemoryBlock } from "../../../src/host/memory-block.ts";
import { ThreadControl, ThreadRequest } from "../../../src/threads/control.ts";
import { serveJobs } from "../../../src/threads/serve-jobs.ts";

/** Does nothing but obey its control. Answers how often it was woken. */
serveJobs((address: number) => {
  const control = new ThreadControl(new MemoryBlock(address, ThreadControl.size));
  const epoll = new Epoll();
  epoll.add(control.wakeFd, 0);
  control.enter("parker");
  let wakes = 0;
  for (;;) {
    epoll.wait(-1, () => {
      wakes++;
      control.drainWake();
    });
    if (control.request === ThreadRequest.PAUSE) control.park();
    if (control.request === ThreadRequest.STOP) break;
  }
  epoll.close();
  control.leave();
  return wakes;
});
