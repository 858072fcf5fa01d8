import { SchoolMemory } from '#dhcp/mod.ts';
import { DhcpService, type BootAnswer, type DhcpNetwork, type Reservation } from '#dhcp/mod.ts';
import { createLog } from '#base/mod.ts';

/**
 * A DHCP service as a process of its own, for tests in namespaces. One JSON argument; every event
 * is one line of standard output. `crashOn` kills it (SIGKILL) at a named event, as power loss
 * would; an ACK's event comes after its commit and before it is sent.
 */
export type LabServerOptions = {
  readonly networks: readonly DhcpNetwork[];
  readonly journalPath: string;
  readonly reservations?: Readonly<Record<string, Reservation>>;
  /** Answer by stage, and by architecture for firmware (`firmware 7`). */
  readonly boot?: Readonly<Record<string, BootAnswer>>;
  readonly crashOn?: string;
  readonly quiet?: boolean;
  readonly schools?: readonly { mac: string; school: 'direct' | 'boot-server' | 'binl' }[];
};

const options = JSON.parse(process.argv[2] ?? '{}') as LabServerOptions;
const reserved = new Set(
  Object.values(options.reservations ?? {}).flatMap((r) =>
    r.address === undefined ? [] : [r.address],
  ),
);
const say = (value: unknown): void => {
  process.stdout.write(`${JSON.stringify(value)}\n`);
};

const service = await DhcpService.start({
  networks: options.networks,
  journalPath: options.journalPath,
  schools: new SchoolMemory(options.schools ?? []),
  log: createLog('debug'),
  policy: {
    reservationFor: (client) => options.reservations?.[client.mac],
    isReserved: (address) => reserved.has(address),
    bootAnswer: (request) =>
      options.boot?.[`${request.stage} ${request.arch}`] ?? options.boot?.[request.stage],
  },
  observer: {
    dhcp: (event) => {
      if (options.crashOn === event.kind) process.kill(process.pid, 'SIGKILL');
      if (options.quiet !== true) say({ atMs: Math.round(performance.now()), ...event });
    },
  },
}).catch((e: unknown) => {
  process.stderr.write(`${e instanceof Error ? e.message : String(e)}\n`);
  process.exitCode = 1;
  return undefined;
});
if (service !== undefined) {
  say({ ready: true });
  process.once('SIGTERM', () => {
    say(service.status());
    void service.close();
  });
}
