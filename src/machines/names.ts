import type { Machine } from './schema.ts';

/** Our naming authority (RFC 7143 §4.2.7.3); the machine's name follows the colon. */
export const IQN_PREFIX = 'iqn.2026-11.org.polyboot:';

/** The iSCSI initiator name that `machine` logs in with. */
export function initiatorNameOf(machine: Pick<Machine, 'name'>): string {
  return `${IQN_PREFIX}${machine.name}`;
}

/** The iSCSI target name of drive `index` (0 is BIOS drive 0x80) of `machine`. */
export function targetNameOf(machine: Pick<Machine, 'name'>, index: number): string {
  return `${IQN_PREFIX}${machine.name}.${index}`;
}

/** Target name → machine name and drive index, or undefined when it is none of ours. */
export function parseTargetName(iqn: string): { name: string; index: number } | undefined {
  const match = /^([a-z0-9-]+)\.(0|[1-9]\d?)$/.exec(afterPrefix(iqn) ?? '');
  if (match === null) return undefined;
  return { name: match[1] ?? '', index: Number(match[2]) };
}

/** Initiator name → machine name, or undefined when it is none of ours. */
export function parseInitiatorName(iqn: string): string | undefined {
  const name = afterPrefix(iqn);
  return name !== undefined && /^[a-z0-9-]+$/.test(name) ? name : undefined;
}

/** The name under which a machine introduces itself: `new-` and the last three bytes of its MAC. */
export function introducedName(mac: string): string {
  return `new-${mac.replaceAll(':', '').slice(6)}`;
}

// iSCSI names compare case-insensitively after RFC 3722's mapping; ours are ASCII.
function afterPrefix(iqn: string): string | undefined {
  const name = iqn.toLowerCase();
  return name.startsWith(IQN_PREFIX) ? name.slice(IQN_PREFIX.length) : undefined;
}
