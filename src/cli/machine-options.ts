import type { BootPlan, MachineChange } from '#api/mod.ts';
import { misused, type Call, type OptionSpec } from './command.ts';
import { DRIVE_OPTION, drivesFrom, PLAN_OPTIONS, planFrom, readText } from './plan-options.ts';

/** What can be said of a machine; "none" clears what may be absent. */
export const MACHINE_OPTIONS: readonly OptionSpec[] = [
  { flags: '--mac <MAC>', help: 'MAC address of a network card', repeat: true },
  { flags: '--uuid <UUID>', help: 'SMBIOS UUID' },
  { flags: '--address <IPV4>', help: 'fixed address from our DHCP server' },
  DRIVE_OPTION,
  ...PLAN_OPTIONS,
  { flags: '--chap-user <NAME>', help: 'CHAP name that its boots must prove; "none": no CHAP' },
  { flags: '--chap-secret-file <FILE>', help: 'file with the CHAP secret (12 to 255 characters)' },
  { flags: '--chap-mutual-user <NAME>', help: 'CHAP name by which the target proves itself' },
  { flags: '--chap-mutual-secret-file <FILE>', help: 'file with that secret' },
  { flags: '--loader <FILE>', help: 'iPXE file instead of the one its firmware would get' },
  { flags: '--note <TEXT>', help: 'a note for people' },
];

/** The change that the options describe. Throws `misused`. */
export function changeFrom(call: Call, cwd: string, oldPlan?: BootPlan): MachineChange {
  const plan = planFrom(call, cwd, oldPlan);
  const drives = drivesFrom(call);
  const macs = call.list('mac');
  const chap = chapFrom(call, cwd);
  return {
    ...(macs === undefined ? {} : { macs }),
    ...clearable(call, 'uuid'),
    ...clearable(call, 'address'),
    ...(plan === undefined ? {} : { plan }),
    ...(drives === undefined ? {} : { drives }),
    ...(chap === undefined ? {} : { chap }),
    ...clearable(call, 'loader'),
    ...clearable(call, 'note'),
  };
}

type Clearable = 'uuid' | 'address' | 'loader' | 'note';

function clearable<Name extends Clearable>(
  call: Call,
  name: Name,
): { [key in Name]?: string | null } {
  const text = call.text(name);
  const said = text === undefined ? {} : { [name]: text === 'none' ? null : text };
  return said as { [key in Name]?: string | null };
}

function chapFrom(call: Call, cwd: string): MachineChange['chap'] {
  const user = call.text('chap-user');
  const mutualUser = call.text('chap-mutual-user');
  const secret = secretFrom(call, cwd, 'chap-secret-file');
  const mutualSecret = secretFrom(call, cwd, 'chap-mutual-secret-file');
  if (user === 'none') return null;
  if (user === undefined && secret === undefined) {
    if (mutualUser !== undefined || mutualSecret !== undefined)
      throw misused('mutual CHAP needs --chap-user and --chap-secret-file too');
    return undefined;
  }
  if (user === undefined || secret === undefined)
    throw misused('CHAP needs both --chap-user and --chap-secret-file');
  if ((mutualUser === undefined) !== (mutualSecret === undefined))
    throw misused('mutual CHAP needs both --chap-mutual-user and --chap-mutual-secret-file');
  return {
    user,
    secret,
    ...(mutualUser === undefined ? {} : { mutualUser }),
    ...(mutualSecret === undefined ? {} : { mutualSecret }),
  };
}

// Editors end a file with a line break; it is no part of the secret.
function secretFrom(call: Call, cwd: string, option: string): string | undefined {
  const file = call.text(option);
  return file === undefined ? undefined : readText(cwd, file).replace(/\r?\n$/, '');
}
