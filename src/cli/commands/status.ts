import type { Status } from '#api/mod.ts';
import { formatBytes } from '#base/mod.ts';
import { JSON_OPTION, type Command } from '../command.ts';
import type { Screen } from '../screen.ts';
import { ago, isoTime } from '../words.ts';

/** `polyboot status`. */
export const status: Command = {
  words: ['status'],
  summary: 'what the server serves, where, and to whom',
  options: [{ flags: '--leases', help: 'the DHCP leases instead' }, JSON_OPTION],
  run: async (call, { client, screen, clock }) => {
    if (call.flag('leases')) {
      const leases = await client.leases();
      if (call.flag('json')) screen.json(leases);
      else {
        screen.table(
          ['ADDRESS', 'MAC', 'MACHINE', 'HOST NAME', 'STATE', 'UNTIL'],
          leases.map((lease) => [
            lease.address,
            lease.mac,
            lease.machine ?? '',
            lease.hostname ?? '',
            lease.state,
            lease.expiresAtMs === undefined ? '' : isoTime(lease.expiresAtMs),
          ]),
        );
      }
      return 0;
    }
    const state = await client.status();
    if (call.flag('json')) screen.json(state);
    else showStatus(screen, state, clock.wallMs());
    return state.services.some((service) => service.state === 'failed') ? 1 : 0;
  },
};

function showStatus(screen: Screen, state: Status, nowMs: number): void {
  screen.fields({
    version: state.version,
    started: `${ago(state.startedAtMs, nowMs)} (process ${state.pid})`,
    memory: formatBytes(state.rssBytes),
    machines: String(state.machines),
    images: String(state.images),
  });
  screen.line();
  screen.table(
    ['SERVICE', 'STATE', 'WHERE', 'COUNTS'],
    state.services.map(({ name, state: is, listeners, detail, counters }) => [
      name,
      is,
      [...listeners, ...(detail === undefined ? [] : [detail])].join(', '),
      Object.entries(counters)
        .filter(([, count]) => count > 0)
        .map(([counter, count]) => `${counter} ${count}`)
        .join(', '),
    ]),
  );
  if (state.sessions.length === 0) return;
  screen.line();
  screen.table(
    ['MACHINE', 'TARGET', 'FROM', 'SINCE', 'READ', 'WRITTEN'],
    state.sessions.map((session) => [
      session.machine ?? session.initiator,
      session.target,
      session.from,
      ago(session.sinceMs, nowMs),
      formatBytes(session.readBytes),
      formatBytes(session.writtenBytes),
    ]),
  );
}
