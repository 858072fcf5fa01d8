import type { AdminClient, TimelineEvent } from '#api/mod.ts';
import { EnvironmentError, normalizeMac, type Clock } from '#base/mod.ts';
import { misused, type Command, type Context } from '../command.ts';
import { LiveTimelines, PlainTimelines } from '../live-view.ts';

/** Boots that said something this recently are shown from their beginning. */
const RECENT_MS = 10 * 60_000;
/** Events looked through for such boots. */
const RECENT_EVENTS = 1_000;
/** A server that restarts is back within seconds. */
const RETRY_MS = 1_000;

/** `polyboot watch`. */
export const watch: Command = {
  words: ['watch'],
  summary: 'live timelines: every stage of every boot, and where one stopped',
  options: [
    { flags: '--machine <NAME>', help: 'only this machine (name or MAC address)' },
    { flags: '--after <ID>', help: 'from this event number on (0: all that is kept)' },
    { flags: '--json', help: 'one JSON object per event' },
  ],
  run: async (call, context) => {
    const isWanted = await filterFor(call.text('machine'), context.client);
    const show = viewer(call.flag('json'), context);
    const onEvent = (event: TimelineEvent): void => {
      if (isWanted(event)) show(event);
    };
    const given = call.integer('after');
    const after = given ?? (await showRecent(context, onEvent));
    if (after < 0) throw misused('--after needs a number from 0 on');
    await followForEver(context, after, onEvent);
    return 0;
  },
};

/**
 * By any spelling of a MAC address, or by the name that a machine has now: what it did before it
 * was named counts. Rejects with RemoteError when no machine has the name.
 */
async function filterFor(
  wanted: string | undefined,
  client: AdminClient,
): Promise<(event: TimelineEvent) => boolean> {
  if (wanted === undefined) return () => true;
  const mac = normalizeMac(wanted);
  if (mac !== undefined) return (event) => event.mac === mac;
  const { name, macs } = await client.machine(wanted);
  return (event) => event.machine === name || macs.includes(event.mac);
}

function viewer(json: boolean, { screen }: Context): (event: TimelineEvent) => void {
  if (json)
    return (event) => {
      screen.line(JSON.stringify(event));
    };
  const view = screen.out.isTty ? new LiveTimelines(screen) : new PlainTimelines(screen);
  return (event) => {
    view.add(event);
  };
}

/** Shows boots that may still be under way, whole. Resolves to the number to go on from. */
async function showRecent(
  { client, clock }: Context,
  onEvent: (event: TimelineEvent) => void,
): Promise<number> {
  const { lastId } = await client.events(0, 1);
  const { events } = await client.events(Math.max(0, lastId - RECENT_EVENTS), RECENT_EVENTS);
  const recent = new Set(
    events.filter((event) => clock.wallMs() - event.atMs < RECENT_MS).map((event) => event.boot),
  );
  for (const event of events) if (recent.has(event.boot)) onEvent(event);
  return events.at(-1)?.id ?? lastId;
}

/** Follows until Ctrl-C, across restarts of the server; the first connection must succeed. */
async function followForEver(
  { client, clock, screen, signal }: Context,
  after: number,
  onEvent: (event: TimelineEvent) => void,
): Promise<void> {
  let last = after;
  let lost = false;
  while (!signal.aborted) {
    try {
      for await (const event of client.follow(last, signal)) {
        last = event.id;
        lost = false;
        onEvent(event);
      }
    } catch (e) {
      if (!(e instanceof EnvironmentError) || signal.aborted) throw e;
      if (!lost) screen.note('the server went away; waiting for it');
      lost = true;
      await pause(clock, signal);
      last = await numberAfterRestart(client, last);
    }
  }
}

/** A log that was begun anew has lower numbers than we know. */
async function numberAfterRestart(client: AdminClient, last: number): Promise<number> {
  try {
    const { lastId } = await client.events(0, 1);
    return lastId < last ? 0 : last;
  } catch {
    return last;
  }
}

function pause(clock: Clock, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const cancel = clock.after(RETRY_MS, resolve);
    signal.addEventListener('abort', () => {
      cancel();
      resolve();
    });
  });
}
