import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import * as fc from 'fast-check';
import { UserError } from '#base/mod.ts';
import { LACKING_SINCE_2019 } from './loader-table.ts';
import { entryScript, machineScript, unknownScript } from './script.ts';
import { shown } from './text.ts';
import type { MachineScript, ScriptPlan } from './types.ts';

const BASE = 'http://10.77.0.1:8080';
const DRIVE = { uris: ['iscsi:10.77.0.1::3260:0:iqn.2026-11.org.polyboot:p4.0'] };
const MACHINE: MachineScript = {
  machine: 'p4',
  initiatorIqn: 'iqn.2026-11.org.polyboot:p4',
  chap: { user: 'p4', secret: 'correct horse', mutualUser: 'server', mutualSecret: 'staple' },
  drives: [DRIVE, { uris: ['iscsi:10.77.0.1::3261:0:iqn.2026-11.org.polyboot:p4.1'] }],
  plan: { kind: 'san' },
  baseUrl: BASE,
};
const KERNEL: ScriptPlan = {
  kind: 'kernel',
  kernelUrl: `${BASE}/files/vmlinuz`,
  initrdUrls: [`${BASE}/files/initrd.img`, `${BASE}/files/extra.img`],
  cmdline: 'root=LABEL=root ip=dhcp console=ttyS0 -- single',
};
const PLANS: readonly ScriptPlan[] = [
  { kind: 'san' },
  { kind: 'san', efiFile: '\\EFI\\debian\\grubx64.efi' },
  KERNEL,
  { kind: 'iso', url: `${BASE}/images/debian.iso` },
  {
    kind: 'memdisk',
    memdiskUrl: `${BASE}/files/memdisk`,
    imageUrl: `${BASE}/files/dos.img`,
    options: ['floppy', 'raw'],
  },
  { kind: 'local' },
  { kind: 'menu', items: [{ key: 'san', label: 'Network disk: dos' }], timeoutMs: 9000 },
];

/** The commands of a script: the first word of every part of every line. */
function commands(script: string): string[] {
  return script
    .split('\n')
    .filter((l) => l !== '' && !l.startsWith('#') && !l.startsWith(':'))
    .flatMap((l) => l.split(/ (?:\|\||&&|;)(?: |$)/))
    .map((part) => part.trim().split(' ')[0] ?? '')
    .filter((word) => word !== '');
}

/** Everything our scripts may do. A command that is not here came from somebody's value. */
const VOCABULARY = new Set([
  'boot',
  'chain',
  'choose',
  'clear',
  'dhcp',
  'echo',
  'exit',
  'goto',
  'imgfetch',
  'imgfree',
  'inc',
  'initrd',
  'isset',
  'iseq',
  'item',
  'kernel',
  'menu',
  'prompt',
  'sanboot',
  'sanhook',
  'sanunhook',
  'set',
  'shell',
  'sleep',
]);

function assertOurs(script: string): void {
  assert.match(script, /^#!ipxe\n/);
  for (const line of script.split('\n')) assert.match(line, /^[\x20-\x7e]*$/);
  for (const command of commands(script)) {
    assert.ok(VOCABULARY.has(command), `"${command}" is not ours in:\n${script}`);
  }
}

/** Each `goto` of a script has its label (those with a choice in it apart). */
function assertLabels(script: string): void {
  const labels = new Set([...script.matchAll(/^:(\S+)$/gm)].map((m) => m[1]));
  for (const [, label] of script.matchAll(/\bgoto (\S+)/g)) {
    if (label?.includes('${') === true) continue;
    assert.ok(labels.has(label), `no label :${label} in\n${script}`);
  }
}

suite('scripts', () => {
  test('a drive is let go of before it is tried again, and its keeping before the error screen', () => {
    const lines = machineScript(MACHINE).split('\n');
    const at = (line: string, from = 0): number => {
      const found = lines.indexOf(line, from);
      assert.ok(found >= 0, line);
      return found;
    };
    const hook = lines.findIndex((l) => l.startsWith('sanhook') && l.includes('0x81'));
    assert.ok(hook > 0 && at('sanunhook --drive 0x81 ||', hook) < at('goto hook_0x81', hook));
    // With keep-san set iPXE keeps the drive in spite of sanunhook.
    const failed = at(':failed');
    const cleared = at('clear keep-san ||', failed);
    assert.ok(cleared < at('sanunhook --drive 0x80 ||', failed));
    assert.ok(cleared < at('sanunhook --drive 0x81 ||', failed));
  });

  test('every plan: our vocabulary, every label there, nothing that 2019 lacks', () => {
    const scripts = [
      ...PLANS.map((plan) => machineScript({ ...MACHINE, plan })),
      unknownScript({ baseUrl: BASE }),
      entryScript({ baseUrl: BASE }),
    ];
    for (const script of scripts) {
      assertOurs(script);
      assertLabels(script);
      const used = commands(script).filter((c) =>
        (LACKING_SINCE_2019 as readonly string[]).includes(c),
      );
      assert.deepEqual(used, []);
      assert.ok(!script.includes('next-server'), 'never the next-server of somebody else');
    }
  });

  test('drives in order, credentials before them, boot after them', () => {
    const script = machineScript(MACHINE);
    const at = (text: string): number => {
      const place = script.indexOf(text);
      assert.ok(place >= 0, `${text} is missing in\n${script}`);
      return place;
    };
    const order = [
      at('set initiator-iqn iqn.2026-11.org.polyboot:p4\n'),
      at('set username:hex 70:34\n'),
      at('set reverse-password:hex '),
      at('sanhook --drive 0x80 iscsi:10.77.0.1::3260:0:iqn.2026-11.org.polyboot:p4.0 '),
      at(
        'sanhook --no-describe --drive 0x81 iscsi:10.77.0.1::3261:0:iqn.2026-11.org.polyboot:p4.1 ',
      ),
      at('sanboot --no-describe --drive 0x80 '),
      at('\n:failed\n'),
      script.lastIndexOf('sanunhook --drive 0x81 '),
      script.lastIndexOf('sanunhook --drive 0x80 '),
    ];
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
    );
  });

  test('an ISO is 0x80 and the drives move up', () => {
    const plan = { kind: 'iso', url: `${BASE}/images/d.iso` } as const;
    const script = machineScript({ ...MACHINE, plan });
    const hooks = [...script.matchAll(/^sanhook (.*?) (iscsi:|http:)/gm)].map((m) => m[1]);
    const silent = '--no-describe --drive';
    assert.deepEqual(hooks, [`${silent} 0x80`, '--drive 0x81', `${silent} 0x82`]);
  });

  test('the firmware table tells of two drives, of one with CHAP: more do not fit', () => {
    const [drive] = MACHINE.drives;
    assert.ok(drive !== undefined);
    const { chap, ...open } = MACHINE;
    const told = (script: string): number => (script.match(/^sanhook --drive/gm) ?? []).length;
    assert.equal(told(machineScript({ ...open, drives: [drive, drive, drive] })), 2);
    assert.ok(chap !== undefined);
    assert.equal(told(machineScript({ ...open, chap, drives: [drive, drive, drive] })), 1);
  });

  test('kernel: names for EFI, the command line as given', () => {
    const script = machineScript({ ...MACHINE, drives: [], plan: KERNEL });
    const line = `kernel --name kernel ${BASE}/files/vmlinuz initrd=initrd0 initrd=initrd1 root=LABEL=root ip=dhcp console=ttyS0 -- single ||`;
    assert.ok(script.includes(line), script);
    assert.ok(script.includes(`initrd --name initrd1 ${BASE}/files/extra.img ||`));
  });

  test('secrets are bytes: never as text, never for the unknown, gone before a shell', () => {
    const script = machineScript(MACHINE);
    assert.ok(!script.includes('correct horse') && !script.includes('staple'));
    const hex = Buffer.from('correct horse').toString('hex').match(/../g)?.join(':') ?? '';
    assert.ok(script.includes(`set password:hex ${hex}\n`));
    for (const line of ['shell ||', 'prompt ']) {
      const before = script.slice(script.indexOf(':failed\n'), script.indexOf(line));
      assert.match(before, /clear username \|\|\nclear password \|\|/, line);
    }
    assert.doesNotMatch(unknownScript({ baseUrl: BASE }), /password:|username:/);
    // The builder of unknown machines takes no field that could carry one.
    const fields: (keyof Parameters<typeof unknownScript>[0])[] = ['baseUrl', 'timeoutMs', 'local'];
    assert.equal(fields.length, 3);
  });

  test('values that iPXE would read as script are refused', () => {
    const bad: Partial<MachineScript>[] = [
      { baseUrl: 'http://h/${password}' },
      { baseUrl: 'http://h/ || shell' },
      { baseUrl: 'tftp://h' },
      { initiatorIqn: 'iqn.2026-11.x:a b' },
      { initiatorIqn: 'iqn.2026-11.x:A' },
      { drives: [{ uris: ['iscsi:h::3260:0:iqn.a\nshell'] }] },
      { drives: [{ uris: ['aoe:e0.0'] }] },
      { drives: [{ uris: [] }] },
      { drives: [] },
      { drives: Array.from({ length: 9 }, () => DRIVE) },
      { attempts: 0 },
      { plan: { kind: 'san', efiFile: '/EFI/x.efi' } },
      { plan: { ...KERNEL, cmdline: 'quiet || shell' } },
      { plan: { ...KERNEL, cmdline: 'quiet ; shell' } },
      { plan: { ...KERNEL, cmdline: 'a #b' } },
      { plan: { ...KERNEL, cmdline: 'a ${x y}' } },
      { plan: { ...KERNEL, cmdline: 'a ü' } },
      { plan: { ...KERNEL, cmdline: 'x'.repeat(3000) } },
      { plan: { ...KERNEL, kernelUrl: 'http://h/a b' } },
      { plan: { kind: 'menu', items: [{ key: 'a b', label: '' }], timeoutMs: 1 } },
      { plan: { kind: 'menu', items: [{ key: 'shell', label: '' }], timeoutMs: 1 } },
      { plan: { kind: 'script', text: 'a\0b' } },
    ];
    for (const change of bad) {
      assert.throws(
        () => machineScript({ ...MACHINE, ...change }),
        (e) => e instanceof UserError,
        JSON.stringify(change),
      );
    }
  });

  test("an owner's script stays as it is, with its first line", () => {
    const plan = (text: string): ScriptPlan => ({ kind: 'script', text });
    const script = (text: string): string => machineScript({ ...MACHINE, plan: plan(text) });
    assert.equal(script('#!ipxe\necho ${mac} # x\n'), '#!ipxe\necho ${mac} # x\n');
    assert.equal(script('echo hi\r\nshell'), '#!ipxe\necho hi\nshell\n');
  });

  test('property: no name, label or secret becomes a command', () => {
    const hostile = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 60 }),
      fc
        .array(fc.constantFrom('||', '&&', ';', '#', '${password}', '\n', '\r', '--', ' ', 'shell'))
        .map((parts) => parts.join(' ')),
    );
    const safe = unknownScript({ baseUrl: BASE }).length;
    assert.ok(safe > 0);
    fc.assert(
      fc.property(hostile, hostile, hostile, (machine, label, secret) => {
        const chap = { user: label, secret };
        assertOurs(machineScript({ ...MACHINE, machine, chap }));
        const plan = { kind: 'menu', items: [{ key: 'x', label }], timeoutMs: 5000 } as const;
        const menu = machineScript({ ...MACHINE, machine, plan });
        assertOurs(menu);
        // What a stranger wrote expands nothing: the only settings named are our own.
        const settings = [...menu.matchAll(/\$\{([^}]*)\}/g)].map((m) => m[1] ?? '');
        const own = /^(?:base|script|report|picked|platform|netX\/(?:mac|mac:hexhyp|ip))$/;
        assert.deepEqual(
          settings.filter((s) => !own.test(s)),
          [],
        );
      }),
      { seed: 19, numRuns: 2000 },
    );
  });

  test('property: any URL or IQN is taken safely or refused', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
        for (const change of [
          { baseUrl: `http://h/${text}` },
          { initiatorIqn: `iqn.2026-11.x:${text}` },
          { drives: [{ uris: [`iscsi:${text}`] }] },
          { plan: { ...KERNEL, cmdline: text } },
        ] as Partial<MachineScript>[]) {
          try {
            assertOurs(machineScript({ ...MACHINE, ...change }));
          } catch (e) {
            assert.ok(e instanceof UserError, String(e));
          }
        }
      }),
      { seed: 20, numRuns: 2000 },
    );
  });

  test('words for people', () => {
    assert.equal(shown('Dell OptiPlex GX270 (2.8 GHz)'), 'Dell OptiPlex GX270 (2.8 GHz)');
    assert.equal(shown(' --key x  -- y '), '?key x ? y');
    assert.equal(shown('${password} || # ;'), '??password? ?? ? ?');
    assert.equal(shown('\x1b[2J'), '?[2J');
    assert.equal(shown(''), '?');
    assert.equal(shown('x'.repeat(100), 20), `${'x'.repeat(17)}...`);
  });
});
