import type { ClientFacts } from './facts.ts';

/** Transactions remembered; a boot takes seconds, so this is a full hall of machines. */
const CAPACITY = 4096;

type Said = { readonly xid: number } & Pick<
  ClientFacts,
  'stage' | 'arch' | 'vendorClass' | 'userClass' | 'uuid'
>;

/**
 * Rule 10: some firmware (Raspberry Pi) says who it is in its DISCOVER and no longer in its
 * REQUEST. What a DISCOVER said is lent to the REQUEST of the same machine and transaction.
 */
export class FirmwareMemory {
  readonly #discovers = new Map<string, Said>();

  /** Notes a DISCOVER. An ordinary client's forgets what its firmware said before. */
  discovered(xid: number, facts: ClientFacts): void {
    this.#discovers.delete(facts.mac);
    if (facts.stage === 'none') return;
    // Not the facts themselves: they hold views of the datagram, which would stay in memory.
    const { mac, stage, arch, vendorClass, userClass, uuid } = facts;
    this.#discovers.set(mac, { xid, stage, arch, vendorClass, userClass, uuid });
    if (this.#discovers.size <= CAPACITY) return;
    for (const oldest of this.#discovers.keys()) {
      this.#discovers.delete(oldest);
      break;
    }
  }

  /** The facts of a REQUEST, filled up from its DISCOVER when it does not say its class. */
  completed(xid: number, facts: ClientFacts): ClientFacts {
    if (facts.stage !== 'none' || facts.vendorClass !== undefined) return facts;
    const earlier = this.#discovers.get(facts.mac);
    if (earlier?.xid !== xid) return facts;
    const { stage, arch, vendorClass, userClass, uuid } = earlier;
    return {
      ...facts,
      stage,
      vendorClass,
      userClass,
      arch: facts.arch ?? arch,
      uuid: facts.uuid ?? uuid,
    };
  }
}
