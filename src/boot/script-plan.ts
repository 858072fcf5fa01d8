import type { MachineScript, SanDrive, ScriptPlan } from '#ipxe/mod.ts';
import { initiatorNameOf, targetNameOf, type Boot, type BootPlan } from '#machines/mod.ts';
import { PATHS } from './urls.ts';

/** How the machine reaches this server. */
export type Reach = {
  readonly address: string;
  readonly iscsiPort: number;
  /** `http://address:port`. */
  readonly baseUrl: string;
};

/** How long the menu of a known machine waits before it goes on to the first line. */
const MENU_TIMEOUT_MS = 20_000;

/** What the script of a known machine must say, from what its boot uses. */
export function machineScriptFor(boot: Boot, reach: Reach, choice?: string): MachineScript {
  const { machine } = boot;
  const { chap } = machine;
  return {
    machine: machine.name,
    initiatorIqn: initiatorNameOf(machine),
    ...(chap === undefined ? {} : { chap }),
    drives: boot.drives.map((_, index) => sanDrive(targetNameOf(machine, index), reach)),
    plan: scriptPlan(chosen(boot, choice), boot, reach),
    baseUrl: reach.baseUrl,
  };
}

/** `iscsi:<server>:<protocol>:<port>:<LUN>:<target>` (RFC 4173 §5; iPXE ignores the protocol). */
function sanDrive(target: string, reach: Reach): SanDrive {
  const port = reach.iscsiPort === 3260 ? '' : String(reach.iscsiPort);
  return { uris: [`iscsi:${reach.address}::${port}:0:${target}`] };
}

/** A menu's choice comes back as `?plan=`: it may only choose what the menu offered. */
function chosen(boot: Boot, choice: string | undefined): BootPlan {
  if (choice === 'local') return { kind: 'local' };
  if (choice === 'san' && boot.drives.length > 0) return { kind: 'san' };
  return boot.plan;
}

function scriptPlan(plan: BootPlan, boot: Boot, reach: Reach): ScriptPlan {
  switch (plan.kind) {
    case 'san':
      // Nothing to boot from: say so on the screen of the machine, by its menu.
      return boot.drives.length > 0 ? { kind: 'san' } : menu(boot);
    case 'kernel':
      return {
        kind: 'kernel',
        kernelUrl: fileUrl(plan.kernel, reach),
        initrdUrls: plan.initrd.map((i) => fileUrl(i, reach)),
        cmdline: plan.cmdline,
      };
    case 'iso':
      return { kind: 'iso', url: reach.baseUrl + PATHS.image(plan.image) };
    case 'floppy':
      return {
        kind: 'memdisk',
        memdiskUrl: reach.baseUrl + PATHS.loader('memdisk'),
        imageUrl: fileUrl(plan.file, reach),
        options: ['floppy'],
      };
    case 'local':
      return { kind: 'local' };
    case 'menu':
      return menu(boot);
    case 'script':
      return { kind: 'script', text: plan.text };
  }
}

function menu(boot: Boot): ScriptPlan {
  const items = [{ key: 'local', label: 'Local disk' }];
  const names = boot.drives.map((d) => d.image).join(', ');
  if (boot.drives.length > 0) items.unshift({ key: 'san', label: `Network disk: ${names}` });
  return { kind: 'menu', items, timeoutMs: MENU_TIMEOUT_MS };
}

function fileUrl(file: string, reach: Reach): string {
  return /^https?:\/\//.test(file) ? file : reach.baseUrl + PATHS.file(file);
}
