/** The other end of a `ThreadLane`: runs transfers in a worker thread. */
import { parentPort, workerData } from 'node:worker_threads';
import { Doorbell } from '#os/mod.ts';
import { LaneLoop } from './lane-loop.ts';
import type { ToLane } from './thread-lane.ts';

const port = parentPort;
if (port !== null) {
  const loop = new LaneLoop(new Doorbell(workerData as number), (event) => {
    port.postMessage(event);
  });
  port.on('message', (message: ToLane) => {
    switch (message.kind) {
      case 'start':
        loop.start(message.job);
        break;
      case 'stop':
        loop.stop(message.id, message.reason, message.message, message.tell);
        break;
      case 'close':
        void loop.close().then(() => {
          port.close();
        });
        break;
    }
  });
}
