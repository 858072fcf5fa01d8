import type { Cancel } from '#base/mod.ts';
import { EVENTS_PER_BATCH, HEARTBEAT_MS } from './limits.ts';
import type { RouteContext } from './routes/context.ts';
import type { TimelineEvent } from './schema/timeline.ts';
import type { Stream } from './stream.ts';

/**
 * Sends every event after number `after` (undefined: from now on) until the stream ends.
 *
 * Events always come from the log by number; a new event only wakes the pump. So replay and live
 * need no seam: nothing is lost, doubled or reordered, and a slow reader costs a number,
 * not a queue.
 */
export function streamEvents(
  { services: { events }, clock }: RouteContext,
  stream: Stream,
  after: number | undefined,
): void {
  const lastId = events.lastId();
  // A number from before the log was begun anew: what is there now is all news to this client.
  let cursor = after === undefined ? lastId : after > lastId ? 0 : after;

  const pump = (): void => {
    while (stream.open && !stream.congested) {
      const batch = events.after(cursor, EVENTS_PER_BATCH);
      if (batch.length === 0) return;
      for (const event of batch) {
        if (stream.congested) break;
        stream.write(frame(event));
        cursor = event.id;
      }
    }
  };

  let heartbeat: Cancel;
  const beat = (): void => {
    stream.write(': alive\n\n');
    heartbeat = clock.after(HEARTBEAT_MS, beat);
  };

  stream.write('retry: 1000\n\n');
  const leave = events.subscribe(pump);
  stream.onDrain(pump);
  heartbeat = clock.after(HEARTBEAT_MS, beat);
  stream.onEnd(() => {
    leave();
    heartbeat();
  });
  pump();
}

// JSON escapes line breaks, so the data is one line whatever is in it (WHATWG HTML §9.2).
function frame(event: TimelineEvent): string {
  return `id: ${event.id}\ndata: ${JSON.stringify(event)}\n\n`;
}
