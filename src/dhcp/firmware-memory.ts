import type { ClientFacts } from './facts.ts';

/** Transactions remembered; a boot takes seconds, so this is a full hall of machines. */
const CAPACITY = 4096;

/**
 * Rule 10: some firmware (Raspberry Pi) says who it is in its DISCOVER and no longer in its
 * REQUEST. What a DISCOVER said is lent to the REQUEST of the same machine and transaction.
 */
export class FirmwareMemory {
  readonly #discovers = new Map<string, { xid: number; facts: ClientFacts }>();

  /** Notes a DISCOVER. An ordinary client's forgets what its firmware said before. */
  discovered(xid: number, facts: ClientFacts): void {
    this.#discovers.delete(facts.mac);
    if (facts.stage === 'none') return;
    this.#discovers.set(facts.mac, { xid, facts });
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
    const { stage, arch, vendorClass, userClass, uuid } = earlier.facts;
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
