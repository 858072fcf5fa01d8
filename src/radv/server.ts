import { type Clock, Counters, type Log, messageOf, silentLog, systemClock } from '#base/mod.ts';
import { Icmp6Socket } from '#net/mod.ts';
import { ROUTER_SOLICITATION } from './codec.ts';
import { RouterResponder } from './responder.ts';

const ALL_ROUTERS = 'ff02::2';
const COUNTERS = ['sent', 'malformed', 'not-local', 'too-many', 'send-failed'] as const;

/** Names of the service's counters. */
export type RadvCounter = (typeof COUNTERS)[number];

/** Where to answer: only networks on which we are the DHCP server, never beside another one. */
export type RadvOptions = {
  readonly interfaces: readonly string[];
  readonly clock?: Clock;
  readonly log?: Log;
  /** Told of each answered solicitation: interface and the solicitor's link-local address. */
  readonly onAnswer?: (networkInterface: string, solicitor: string) => void;
};

/** Answers router solicitations with "no router here". */
export class RadvService {
  readonly counters: Counters<RadvCounter> = new Counters(COUNTERS);
  readonly #sockets: Icmp6Socket[] = [];

  private constructor() {}

  /** Starts on all interfaces or on none. Throws EnvironmentError. */
  static async start(options: RadvOptions): Promise<RadvService> {
    const service = new RadvService();
    try {
      for (const name of options.interfaces) service.#listen(name, options);
    } catch (e) {
      await service.close();
      throw e;
    }
    return service;
  }

  async close(): Promise<void> {
    await Promise.all(this.#sockets.map((s) => s.close()));
  }

  #listen(name: string, options: RadvOptions): void {
    const clock = options.clock ?? systemClock;
    const log = (options.log ?? silentLog).child({ service: 'radv', interface: name });
    const responder = new RouterResponder();
    const socket = Icmp6Socket.open(
      { interface: name, types: [ROUTER_SOLICITATION], groups: [ALL_ROUTERS] },
      {
        onMessage: (bytes, from) => {
          const advice = responder.receive(bytes, from, clock.monotonicMs());
          if (advice.kind === 'drop') {
            this.counters.inc(advice.reason);
            return;
          }
          try {
            socket.send(advice.bytes, advice.to);
            this.counters.inc('sent');
            options.onAnswer?.(name, from);
          } catch (e) {
            // An interface without a link-local address, or one that went away.
            this.counters.inc('send-failed');
            log.warn({ error: messageOf(e) }, 'router advertisement');
          }
        },
        onError: (e) => {
          log.warn({ error: messageOf(e) }, 'router advertisement socket');
        },
      },
    );
    this.#sockets.push(socket);
  }
}
