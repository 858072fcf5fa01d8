import { architecture, isRaspberryPi } from './architecture.ts';
import type { ClientFacts } from './facts.ts';
import { text, terminated } from './options/basic.ts';
import { HTTP_CLIENT, PXE_CLIENT } from './options/client.ts';
import { OPTION } from './options/codes.ts';
import { encodeIpxe } from './options/ipxe.ts';
import { encodePxe, PXE, pxeMenu, pxePrompt, SKIP_DISCOVERY } from './options/pxe.ts';
import { FILE_FIELD_CHARACTERS } from './packet.ts';
import type { BootAnswer } from './policy.ts';
import type { UefiSchool } from './strategy.ts';

/** Header fields and options that carry one boot decision. */
export type BootFields = {
  readonly siaddr: number;
  readonly sname: string;
  readonly file: string;
  /** In the order they are sent. */
  readonly options: readonly (readonly [code: number, value: Uint8Array])[];
};

/** All that decides how a boot answer is put into a packet. */
export type BootContext = {
  readonly answer: Exclude<BootAnswer, { kind: 'none' }>;
  readonly facts: ClientFacts;
  /** Our address as a number and as text. */
  readonly server: number;
  readonly serverText: string;
  /** True when we give the address too. */
  readonly realServer: boolean;
  /** How a firmware client is led to its file. */
  readonly school: UefiSchool;
  /** True on port 4011, where every answer names the file. */
  readonly bootServer: boolean;
  /** Sub-option 43.71 of the request: the boot item it chose from a menu. */
  readonly bootItem?: Uint8Array | undefined;
};

/** The packet fields for a boot decision (boot facts 1, 3, 5). */
export function bootFields(context: BootContext): BootFields {
  const { facts, serverText } = context;
  const file = fileText(context);
  const named = namesFile(context);
  const options: [number, Uint8Array][] = [];
  const vendorClass = replyClass(facts);
  if (vendorClass !== undefined) options.push([OPTION.vendorClass, text(vendorClass)]);
  const pxe = pxeOptions(context);
  if (pxe !== undefined) options.push([OPTION.vendorSpecific, pxe]);
  if (facts.stage === 'ipxe') options.push(...ipxeOptions(context));
  if (named) options.push(...nameOptions(facts, serverText, file));
  return {
    siaddr: context.server,
    sname: named ? serverText : '',
    file: named && file.length <= FILE_FIELD_CHARACTERS ? file : '',
    options,
  };
}

/** School `boot-server` names no file in a proxy offer: the client asks port 4011 for it. */
function namesFile(context: BootContext): boolean {
  if (context.facts.stage !== 'firmware' || context.realServer || context.bootServer) return true;
  return context.school !== 'boot-server';
}

/**
 * The file as this client reads it. iPXE gets a full URL always: beside option 43 it takes a bare
 * name for a boot item (pixiecore, smee), and ${next-server} may be somebody else's.
 */
function fileText(context: BootContext): string {
  const { answer, facts, serverText } = context;
  if (answer.kind === 'url') return answer.url;
  if (facts.stage !== 'ipxe' || answer.file.includes('://')) return answer.file;
  return `tftp://${serverText}/${answer.file.replace(/^\/+/, '')}`;
}

/** Rule 5: the bare class, never the client's own string back. */
export function replyClass(facts: ClientFacts): string | undefined {
  if (facts.vendorClass?.startsWith(HTTP_CLIENT) === true) return HTTP_CLIENT;
  if (facts.vendorClass?.startsWith(PXE_CLIENT) === true) return PXE_CLIENT;
  return undefined;
}

/**
 * Rule 3: {6:8} ("skip discovery, use the file named here") for BIOS ROMs; none for UEFI, where its
 * presence flips EDK2 between TFTP and port 4011 (edk2#8149), unless the machine's school says so.
 * Rule 9: a Raspberry Pi looks for a menu entry with its own name.
 */
function pxeOptions(context: BootContext): Uint8Array | undefined {
  const { facts } = context;
  if (facts.stage !== 'firmware') return undefined;
  // A boot item is answered with itself, or the client takes it for another server's answer.
  if (context.bootItem !== undefined) return encodePxe(new Map([[PXE.bootItem, context.bootItem]]));
  if (isRaspberryPi(facts.mac)) return raspberryPiMenu();
  const byKind = context.realServer || context.bootServer;
  const direct = byKind ? !isUefi(facts) : context.school === 'direct';
  return direct ? encodePxe(new Map([[PXE.discoveryControl, SKIP]])) : undefined;
}

const SKIP: Uint8Array = Uint8Array.of(SKIP_DISCOVERY);

/** What `Raspberry Pi Boot` needs: no broadcast or multicast discovery, a menu, taken at once. */
export function raspberryPiMenu(): Uint8Array {
  return encodePxe(
    new Map([
      [PXE.discoveryControl, Uint8Array.of(3)],
      [PXE.menuPrompt, pxePrompt(0, 'PXE')],
      [PXE.bootMenu, pxeMenu([{ type: 0, text: 'Raspberry Pi Boot' }])],
    ]),
  );
}

/** True for UEFI firmware by option 93. Firmware that names no architecture is an old BIOS ROM. */
export function isUefi(facts: ClientFacts): boolean {
  return facts.arch !== undefined && architecture(facts.arch)?.firmware === 'uefi';
}

function* ipxeOptions(context: BootContext): Generator<[number, Uint8Array]> {
  const settings = context.answer.ipxe;
  const encapsulated = encodeIpxe(settings, context.realServer);
  if (encapsulated !== undefined) yield [OPTION.ipxe, encapsulated];
  if (settings?.rootPath !== undefined) yield [OPTION.rootPath, text(settings.rootPath)];
  if (settings?.initiatorIqn !== undefined) {
    yield [OPTION.initiatorIqn, text(settings.initiatorIqn)];
  }
}

/**
 * Rule 2: 66 and 67 repeat the header only for clients that list them, and end in NUL except for a
 * Raspberry Pi, which has misread that (firmware#871). A name too long for the header goes into 67
 * alone. UEFI HTTP Boot always gets 67, where EDK2 looks first.
 */
function* nameOptions(
  facts: ClientFacts,
  serverText: string,
  file: string,
): Generator<[number, Uint8Array]> {
  const encode = isRaspberryPi(facts.mac) ? text : terminated;
  const asked = (code: number): boolean => facts.wanted?.includes(code) === true;
  if (asked(OPTION.tftpServerName) && facts.stage !== 'http-client') {
    yield [OPTION.tftpServerName, encode(serverText)];
  }
  const long = file.length > FILE_FIELD_CHARACTERS;
  if (long || asked(OPTION.bootFileName) || facts.stage === 'http-client') {
    yield [OPTION.bootFileName, encode(file)];
  }
}
