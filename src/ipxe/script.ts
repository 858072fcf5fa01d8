import { UserError } from '#base/mod.ts';
import { credentials, driveName, enter, failureScreen, hookDrive, localDisk } from './blocks.ts';
import { shellAndAgain } from './blocks.ts';
import type { Step } from './blocks.ts';
import { assemble, efiFileWord, iqnWord, kernelWords, keyWord, shown, urlWord } from './text.ts';
import type { MachineScript, MenuItem, ScriptPlan, UnknownScript } from './types.ts';
import { beacon, factsQuery, preamble } from './urls.ts';

const ATTEMPTS = 3;
/** BIOS drives 0x80 … 0x87: more than any BIOS or DOS looks at. */
const DRIVES = 8;
/**
 * How often iPXE opens a lost drive again before it gives an error to DOS: 5 s and a TCP attempt
 * each, so a server may be away for ten minutes. The setting is a signed byte (its sanboot.c).
 */
const SAN_RETRIES = 100;
const UNKNOWN_TIMEOUT_MS = 15_000;
const MENU_TIMEOUT_RANGE_MS = [1000, 3_600_000] as const;

/**
 * Drives that the firmware table (iBFT) tells the operating system of. Debian's 2019 BIOS build has
 * 768 bytes for it and refuses to hook what no longer fits ("Could not describe SAN devices",
 * 34852006): two drives always fit, but CHAP takes the room of one.
 */
function describedDrives(input: MachineScript): number {
  return input.chap === undefined ? 2 : 1;
}

/**
 * The script of a known machine. Runs on every iPXE since 2019, BIOS and UEFI. Throws UserError
 * when a value cannot be put into a script (see text.ts); never guesses.
 */
export function machineScript(input: MachineScript): string {
  const { plan } = input;
  if (plan.kind === 'script') return customScript(plan.text);
  const head = ['#!ipxe', `# Polyboot: ${shown(input.machine, 60)} (${plan.kind})`];
  if (plan.kind === 'local') return assemble([...head, ...localDisk(plan.method)]);
  if (plan.kind === 'menu') {
    return assemble([...head, ...preamble(input.baseUrl), ...machineMenu(input, plan)]);
  }
  const first = plan.kind === 'iso' ? 0x81 : 0x80;
  const drives = input.drives.map((_, n) => first + n);
  if (drives.length > DRIVES) {
    throw new UserError('unsupported', 'too-many-drives', {
      what: `${input.machine} has ${drives.length} drives`,
      why: `a BIOS knows ${DRIVES}`,
    });
  }
  if (plan.kind === 'san' && drives.length === 0) {
    throw new UserError('invalid', 'no-drive', {
      what: `${input.machine} is to boot from a network disk and has none`,
      todo: 'attach an image to it, or choose another boot plan',
    });
  }
  const hooked = plan.kind === 'iso' ? [0x80, ...drives] : drives;
  return assemble([
    ...head,
    ...preamble(input.baseUrl),
    `set initiator-iqn ${iqnWord(input.initiatorIqn)}`,
    `set san-retries ${SAN_RETRIES}`,
    'set keep-san 1',
    ...credentials(input.chap),
    ...isoFirst(input, plan),
    ...input.drives.flatMap((drive, n) => {
      const number = first + n;
      const step = driveStep(number, input.baseUrl, drive.uris);
      return hookDrive(number, drive.uris, attemptsOf(input), step, n < describedDrives(input));
    }),
    ...bootLines(plan),
    ...failureScreen(hooked.toReversed()),
  ]);
}

/**
 * The script of a machine that nobody has named yet: it introduces itself, shows what it is, and
 * leaves for the local disk unless a person chooses otherwise. Takes nothing that could be secret.
 */
export function unknownScript(input: UnknownScript): string {
  const timeout = menuTimeout(input.timeoutMs ?? UNKNOWN_TIMEOUT_MS);
  return assemble([
    '#!ipxe',
    '# Polyboot: a machine that is not set up yet',
    ...preamble(input.baseUrl),
    ...beacon(`stage=register&${factsQuery()}`),
    ':menu',
    'menu Polyboot: this machine is not set up yet',
    'item --gap Name it on the server:  polyboot machine set',
    'item --gap MAC ${netX/mac}  Address ${netX/ip}',
    'item --gap ${manufacturer} ${product}',
    'item --gap Firmware ${platform}, ${buildarch}',
    'item --gap',
    'item local Local disk',
    'item again Try again (when it is set up)',
    'item shell iPXE shell',
    `choose --default local --timeout ${timeout} picked || goto shell`,
    'goto ${picked} || goto menu',
    ':local',
    ...localDisk(input.local),
    ...shellAndAgain(),
  ]);
}

/**
 * A script with nothing in it but the way to the server, the same for every machine: for
 * `autoexec.ipxe` and for routers that can name a single boot file only.
 */
export function entryScript(input: { readonly baseUrl: string }): string {
  return assemble([
    '#!ipxe',
    '# Polyboot: ask the server what to boot',
    'isset ${netX/ip} || dhcp ||',
    ...preamble(input.baseUrl),
    'set script ${script}?uuid=${uuid}',
    ...shellAndAgain().slice(shellAndAgain().indexOf(':again')),
  ]);
}

function bootLines(plan: ScriptPlan): string[] {
  switch (plan.kind) {
    case 'san': {
      const file = plan.efiFile === undefined ? '' : ` --filename ${efiFileWord(plan.efiFile)}`;
      const boot = 'sanboot --no-describe --drive 0x80';
      const both = `iseq \${platform} efi && ${boot}${file} || ${boot} || goto failed_now`;
      return [...enter(BOOT_DISK), file === '' ? `${boot} || goto failed_now` : both];
    }
    case 'iso':
      return [...enter(BOOT_ISO), 'sanboot --no-describe --drive 0x80 || goto failed_now'];
    case 'kernel':
      return kernelLines(plan);
    case 'memdisk': {
      const memdisk = urlWord(plan.memdiskUrl, 'memdisk URL');
      return [
        ...enter(FETCH('kernel')),
        `kernel ${memdisk} ${plan.options.join(' ')} || goto failed_now`,
        ...enter(FETCH('initrd')),
        `initrd ${urlWord(plan.imageUrl, 'image URL')} || goto failed_now`,
        ...enter(BOOT_KERNEL),
        'boot || goto failed_now',
      ];
    }
    case 'local':
    case 'menu':
    case 'script':
      return [];
  }
}

/**
 * Names are given with `--name`, because an EFI kernel finds its initrd by the name in `initrd=`
 * (a BIOS one gets it in memory and ignores the word).
 */
function kernelLines(plan: Extract<ScriptPlan, { kind: 'kernel' }>): string[] {
  const cmdline = kernelWords(plan.cmdline);
  const named = /(^| )initrd=/.test(cmdline)
    ? []
    : plan.initrdUrls.map((_, n) => `initrd=initrd${n}`);
  const words = [...named, cmdline].filter((w) => w !== '').join(' ');
  return [
    ...enter(FETCH('kernel')),
    `kernel --name kernel ${urlWord(plan.kernelUrl, 'kernel URL')} ${words} || goto failed_now`,
    ...plan.initrdUrls.flatMap((url, n) => [
      ...enter(FETCH('initrd')),
      `initrd --name initrd${n} ${urlWord(url, 'initrd URL')} || goto failed_now`,
    ]),
    ...enter(BOOT_KERNEL),
    'boot kernel || goto failed_now',
  ];
}

/** The ISO is hooked before the drives: a BIOS wants 0x80 to be there before 0x81. */
function isoFirst(input: MachineScript, plan: ScriptPlan): string[] {
  if (plan.kind !== 'iso') return [];
  const step: Step = {
    id: 'iso',
    name: 'read the ISO over HTTP',
    check: ['is the ISO still in the library (polyboot image list)', 'the network to the server'],
  };
  return hookDrive(0x80, [plan.url], attemptsOf(input), step, false);
}

function machineMenu(input: MachineScript, plan: Extract<ScriptPlan, { kind: 'menu' }>): string[] {
  const first = keyWord(plan.items[0]?.key ?? 'local');
  const timeout = menuTimeout(plan.timeoutMs);
  const local = plan.items.some((i) => i.key === 'local');
  return [
    ':menu',
    `menu Polyboot: ${shown(input.machine, 60)}`,
    'item --gap MAC ${netX/mac}  Address ${netX/ip}',
    'item --gap',
    ...plan.items.map((item) => menuItem(item)),
    ...(local ? [] : ['item local Local disk']),
    'item again Load this menu again',
    'item shell iPXE shell',
    `choose --default ${first} --timeout ${timeout} picked || goto shell`,
    // Labels only for our own three: what the machine's owner offers is asked of the server.
    'iseq ${picked} local && goto local ||',
    'iseq ${picked} again && goto again ||',
    'iseq ${picked} shell && goto shell ||',
    'chain --replace --autofree ${script}?plan=${picked} || goto menu',
    ':local',
    ...localDisk(),
    ...shellAndAgain(),
  ];
}

function menuItem(item: MenuItem): string {
  const key = keyWord(item.key);
  if (key === 'again' || key === 'shell') {
    throw new UserError('invalid', 'bad-menu', { what: `the menu key "${key}" is taken` });
  }
  return `item ${key} ${shown(item.label, 70)}`;
}

/** The owner's own script, untouched but for its first line: it is theirs to get right. */
function customScript(text: string): string {
  const body = text.replaceAll('\r\n', '\n');
  const script = /^#!(?:ipxe|gpxe)\b/.test(body) ? body : `#!ipxe\n${body}`;
  if (/[\x00\x01-\x08\x0b-\x1f\x7f]/.test(script)) {
    throw new UserError('invalid', 'bad-script', {
      what: 'the boot script is not plain text',
      todo: 'save it as UTF-8 text without control characters',
    });
  }
  return script.endsWith('\n') ? script : `${script}\n`;
}

function attemptsOf(input: MachineScript): number {
  const attempts = input.attempts ?? ATTEMPTS;
  if (Number.isInteger(attempts) && attempts >= 1 && attempts <= 9) return attempts;
  throw new UserError('invalid', 'bad-attempts', { what: 'attempts must be 1 to 9' });
}

function menuTimeout(timeoutMs: number): number {
  const [least, most] = MENU_TIMEOUT_RANGE_MS;
  return Math.round(Math.min(most, Math.max(least, Number.isFinite(timeoutMs) ? timeoutMs : most)));
}

function driveStep(drive: number, baseUrl: string, uris: readonly string[]): Step {
  const target = uris[0] ?? '';
  if (target === '') {
    throw new UserError('invalid', 'no-path', { what: `drive ${driveName(drive)} has no address` });
  }
  const host = /^iscsi:(\[[^\]]*\]|[^:]*)/.exec(target)?.[1] ?? baseUrl;
  const port = /^iscsi:(?:\[[^\]]*\]|[^:]*):[^:]*:(\d+)/.exec(target)?.[1] ?? '3260';
  return {
    id: `drive-${driveName(drive)}`,
    name: `attach drive ${driveName(drive)} from ${host}`,
    check: [
      `is polyboot running on ${host}, is its TCP port ${port} open`,
      'is the image free (polyboot image show), is the CHAP secret right',
    ],
  };
}

const FETCH = (id: 'kernel' | 'initrd'): Step => ({
  id,
  name: `fetch the ${id}`,
  check: ['is the file there, spelled like that', 'has the machine enough memory for it'],
});
const BOOT_KERNEL: Step = {
  id: 'boot',
  name: 'start the kernel',
  check: ['is it a kernel for this firmware and processor', 'its command line'],
};
const BOOT_DISK: Step = {
  id: 'boot',
  name: 'start from drive 0x80',
  check: [
    'is the image bootable for this firmware (polyboot image inspect)',
    'error 1d852039: its first sector has no boot signature 55AA',
  ],
};
const BOOT_ISO: Step = {
  id: 'boot',
  name: 'start from the ISO',
  check: ['is the ISO made for this firmware (BIOS, UEFI)', 'its El Torito boot record'],
};
