import { normalizeMac, type Explanation } from '#base/mod.ts';
import { decodeIpxeError } from '#ipxe/mod.ts';
import type { Stage } from './stages.ts';
import type { Facts } from './timeline.ts';

/** What a script or a booted system told us about itself. */
export type Report =
  | { readonly kind: 'stage'; readonly mac: string; readonly stage: Stage; readonly facts: Facts }
  | {
      readonly kind: 'failed';
      readonly mac: string;
      readonly facts: Facts;
      readonly problem: Explanation;
    };

/** Facts that a report may carry; anything else in the query is ignored. */
const READY_FACTS = ['root', 'firmware', 'uptime', 'kernel'] as const;
const REGISTER_FACTS = ['manufacturer', 'product', 'serial', 'platform', 'version'] as const;
const FACT_LENGTH_MAX = 120;

/**
 * Reads the query of `/boot/report`. `behind` is the MAC that the address really belongs to: it
 * wins over what the query claims, so that one machine cannot speak for another. Undefined:
 * nobody's.
 */
export function reportFrom(query: URLSearchParams, behind: string | undefined): Report | undefined {
  const mac = behind ?? normalizeMac(query.get('mac') ?? '');
  if (mac === undefined) return undefined;
  switch (query.get('stage') ?? '') {
    case 'ready':
      return { kind: 'stage', mac, stage: 'ready', facts: pick(query, READY_FACTS) };
    case 'register':
      return { kind: 'stage', mac, stage: 'script', facts: pick(query, REGISTER_FACTS) };
    case 'failed':
      return failure(mac, query.get('step') ?? '', query.get('error') ?? '');
    default:
      return undefined;
  }
}

function failure(mac: string, step: string, error: string): Report {
  const code = /^[0-9a-f]{8}$/i.test(error) ? error.toLowerCase() : undefined;
  const facts = { step: step.slice(0, 40), ...(code === undefined ? {} : { error: code }) };
  const known = code === undefined ? undefined : decodeIpxeError(code);
  const said = known?.meaning ?? known?.text;
  const problem = {
    what: `iPXE could not go on at "${printableStep(step)}".`,
    ...(code === undefined
      ? {}
      : { why: `its error is http://ipxe.org/${code}${said === undefined ? '' : `: ${said}`}` }),
    todo: known?.todo ?? adviceFor(step),
  };
  return { kind: 'failed', mac, facts, problem };
}

/** The steps that scripts report (`ipxe/urls.ts`) → what to look at. */
function adviceFor(step: string): string {
  if (step.startsWith('drive')) {
    return 'Look above for a refused login; check that TCP port 3260 of this server is open.';
  }
  if (step === 'kernel' || step === 'initrd') {
    return 'Check that the file is in the folder of boot files (`files:` in polyboot.yaml) and can be read.';
  }
  if (step === 'iso') return 'Check with `polyboot image show NAME` that the ISO is there.';
  return 'Run `polyboot image inspect IMAGE`: it says whether the disk can boot by this firmware.';
}

function printableStep(step: string): string {
  return /^[a-z0-9x-]{1,40}$/.test(step) ? step : 'an unknown step';
}

function pick(query: URLSearchParams, names: readonly string[]): Facts {
  const facts: Record<string, string> = {};
  for (const name of names) {
    const value = query.get(name);
    if (value !== null && value !== '') facts[name] = value.slice(0, FACT_LENGTH_MAX);
  }
  return facts;
}
