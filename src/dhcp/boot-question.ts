import { formatIpv4 } from '#base/mod.ts';
import { architecture } from './architecture.ts';
import type { ClientFacts } from './facts.ts';
import { OPTION } from './options/codes.ts';
import type { BootAnswer, BootRequest, DhcpPolicy } from './policy.ts';
import type { Site } from './site.ts';

/** A decision that carries something. */
export type RealAnswer = Exclude<BootAnswer, { kind: 'none' }>;

/** Why a client gets no boot information. */
export type NoAnswer = 'nothing-to-boot' | 'unknown-architecture' | 'not-for-us';

/** The client's place, for the question. */
export type BootPlace = {
  readonly site: Site;
  readonly viaProxy: boolean;
  /** 0 when it has none. */
  readonly clientAddress: number;
  readonly relay: string | undefined;
};

/**
 * Asks the policy what the client shall boot. Operating systems are not asked about unless they
 * list a boot file in option 55, and an architecture that IANA does not know gets no file: a
 * loader for another processor only hangs the machine.
 */
export function askBoot(
  policy: DhcpPolicy,
  facts: ClientFacts,
  place: BootPlace,
): RealAnswer | NoAnswer {
  if (facts.stage === 'none' && facts.type !== 0 && !listsBootFile(facts)) return 'not-for-us';
  const firmware = facts.stage === 'firmware' || facts.stage === 'http-client';
  if (firmware && facts.arch !== undefined && architecture(facts.arch) === undefined) {
    return 'unknown-architecture';
  }
  const answer = policy.bootAnswer(question(facts, place));
  return answer === undefined || answer.kind === 'none' ? 'nothing-to-boot' : answer;
}

function listsBootFile(facts: ClientFacts): boolean {
  return facts.wanted?.includes(OPTION.bootFileName) === true;
}

function question(facts: ClientFacts, place: BootPlace): BootRequest {
  return {
    mac: facts.mac,
    ...(facts.uuid === undefined ? {} : { uuid: facts.uuid }),
    ...(facts.arch === undefined ? {} : { arch: facts.arch }),
    ...(facts.vendorClass === undefined ? {} : { vendorClass: facts.vendorClass }),
    userClass: facts.userClass,
    stage: facts.stage,
    interface: place.site.config.interface,
    serverAddress: place.site.serverText,
    ...(place.clientAddress === 0 ? {} : { clientAddress: formatIpv4(place.clientAddress) }),
    viaProxy: place.viaProxy,
    ...(place.relay === undefined ? {} : { relay: place.relay }),
  };
}
