import { accessSync, constants, existsSync, mkdirSync, statfsSync } from 'node:fs';
import { createServer } from 'node:net';
import { EnvironmentError, errnoOf, formatBytes, messageOf } from '#base/mod.ts';
import { probeServers, type FoundServer } from '#dhcp/mod.ts';
import { findLoaders } from '#ipxe/mod.ts';
import { UdpSocket } from '#net/mod.ts';
import type { Config } from './config.ts';
import type { BootNetwork, Finding } from './networks.ts';
import type { Paths } from './paths.ts';

/** Below this the library cannot take a small Linux image. */
const FREE_BYTES_LOW = 2 * 1024 ** 3;

/** Asks each network who else answers DHCP there (up to 3.5 seconds, all networks at once). */
export async function otherServerFindings(networks: readonly BootNetwork[]): Promise<Finding[]> {
  const asked = networks.filter((n) => n.config.dhcp !== 'off' && n.interface.up);
  const found = await Promise.all(asked.map(askOne));
  return found.flat();
}

async function askOne(network: BootNetwork): Promise<Finding[]> {
  const { config } = network;
  let servers: FoundServer[];
  try {
    servers = await probeServers(config.interface, { enough: (found) => !found.proxy });
  } catch (e) {
    if (config.dhcp === 'server' && errnoOf(e) === 'EADDRINUSE') return [judgeClient(network)];
    return [
      {
        level: 'warn',
        what: `could not ask who answers DHCP on ${config.interface}`,
        why: reasonOf(e),
      },
    ];
  }
  const full = servers.filter((s) => !s.proxy);
  const proxies = servers.filter((s) => s.proxy).map((s) => s.server);
  const findings: Finding[] = [];
  if (proxies.length > 0) {
    findings.push({
      level: 'warn',
      what: `another proxyDHCP server answers on ${config.interface}: ${proxies.join(', ')}`,
      why: 'machines may take the boot file that it names',
      todo: 'stop the other boot server on this network',
    });
  }
  return [...findings, ...judgeServers(network, full)];
}

/** Something holds port 68, where the answer would come: a DHCP client, so there is a server. */
function judgeClient({ config }: BootNetwork): Finding {
  const why = 'so another server gives the addresses there';
  if (config.allowOtherDhcpServer) {
    return { level: 'warn', what: `a DHCP client runs on ${config.interface}`, why };
  }
  return {
    level: 'fail',
    what: `refusing to be a DHCP server on ${config.interface}: a DHCP client of this host runs on it`,
    why,
    todo: `give ${config.interface} a fixed address and end the client (ss -ulpn sport = :68), use \`dhcp: proxy\`, or say \`allowOtherDhcpServer: true\``,
  };
}

function judgeServers(network: BootNetwork, servers: readonly FoundServer[]): Finding[] {
  const { config } = network;
  const names = servers.map((s) => s.server).join(', ');
  if (config.dhcp === 'server') {
    if (servers.length === 0) return [ok(`nobody else answers DHCP on ${config.interface}`)];
    if (config.allowOtherDhcpServer) {
      return [{ level: 'warn', what: `${names} answers DHCP on ${config.interface} too` }];
    }
    return [
      {
        level: 'fail',
        what: `refusing to be a DHCP server on ${config.interface}: ${names} answers there already`,
        why: 'two servers on one network hand out the same addresses',
        todo: 'use `dhcp: proxy` there, or switch the other server off, or say `allowOtherDhcpServer: true`',
      },
    ];
  }
  if (servers.length > 0) return [ok(`${names} gives the addresses on ${config.interface}`)];
  return [
    {
      level: 'warn',
      what: `nobody gives addresses on ${config.interface}`,
      why: 'proxyDHCP adds the boot file to another server’s answer, and there is none',
      todo: 'switch the router’s DHCP on, or set `dhcp: server` and a `pool` for this network',
    },
  ];
}

/** Whether each folder that we write to can be written to, and has room. Makes those missing. */
export function folderFindings(paths: Paths): Finding[] {
  return [paths.state, paths.images, paths.files].flatMap((folder) => {
    try {
      mkdirSync(folder, { recursive: true });
      accessSync(folder, constants.W_OK);
    } catch (e) {
      return [
        {
          level: 'fail' as const,
          what: `cannot write to ${folder}`,
          why: messageOf(e),
          todo: 'run as root, or name another folder under `state:` in polyboot.yaml',
        },
      ];
    }
    const { bavail, bsize } = statfsSync(folder);
    const freeBytes = bavail * bsize;
    if (folder !== paths.images) return [];
    if (freeBytes >= FREE_BYTES_LOW) return [ok(`${formatBytes(freeBytes)} free in ${folder}`)];
    return [{ level: 'warn' as const, what: `only ${formatBytes(freeBytes)} free in ${folder}` }];
  });
}

/** Whether the loaders that common firmware asks for are there. */
export function loaderFindings(config: Config): Finding[] {
  const { found, problem } = findLoaders(config.loaders);
  if (problem === undefined) return [ok(`loaders: ${found.map((l) => l.fact.file).join(', ')}`)];
  // Some machines can boot: say what is missing and go on. None can: there is nothing to serve.
  return [{ level: found.length === 0 ? 'fail' : 'warn', ...problem }];
}

/** Programs that only some commands need. */
export function toolFindings(pathVariable: string): Finding[] {
  const folders = [...pathVariable.split(':'), '/usr/sbin', '/sbin'];
  const has = (tool: string): boolean => folders.some((f) => existsSync(`${f}/${tool}`));
  const lacks = (tools: readonly string[]): string => tools.filter((t) => !has(t)).join(', ');
  const build = lacks(['mmdebstrap', 'mke2fs', 'grub-mkimage']);
  const demo = lacks(['qemu-system-x86_64', 'ip']);
  return [
    build === ''
      ? ok('`polyboot image build` has its tools')
      : {
          level: 'warn',
          what: `\`polyboot image build\` lacks: ${build}`,
          todo: 'apt-get install mmdebstrap e2fsprogs grub-common grub-pc-bin grub-efi-amd64-bin',
        },
    demo === ''
      ? ok('`polyboot demo` has its tools')
      : {
          level: 'warn',
          what: `\`polyboot demo\` lacks: ${demo}`,
          todo: 'apt-get install qemu-system-x86 ovmf ipxe-qemu iproute2',
        },
  ];
}

/** Whether the ports that we want are free: each is opened for a moment. */
export async function portFindings(
  config: Config,
  networks: readonly BootNetwork[],
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { address } of networks) {
    const wanted = [
      { name: 'TFTP', port: config.tftp.port, open: () => openUdp(address, config.tftp.port) },
      { name: 'HTTP', port: config.http.port, open: () => openTcp(address, config.http.port) },
      { name: 'iSCSI', port: config.iscsi.port, open: () => openTcp(address, config.iscsi.port) },
    ];
    for (const { name, port, open } of wanted) {
      const why = await open();
      findings.push(
        why === undefined
          ? ok(`${name} port ${port} is free on ${address}`)
          : {
              level: 'warn',
              what: `${name} port ${port} cannot be had on ${address}`,
              why,
              todo: 'if `polyboot up` runs already, all is well; else `ss -lnptu` names the program',
            },
      );
    }
  }
  return findings;
}

async function openUdp(address: string, port: number): Promise<string | undefined> {
  try {
    await UdpSocket.open({ family: 4, address, port }, { onMessage: () => undefined }).close();
    return undefined;
  } catch (e) {
    return reasonOf(e);
  }
}

/** The reason alone: it stands under a line of ours that says what and what to do. */
function reasonOf(e: unknown): string {
  if (!(e instanceof EnvironmentError)) return messageOf(e);
  return e.explanation.why ?? e.explanation.what;
}

function openTcp(host: string, port: number): Promise<string | undefined> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', (e) => {
      resolve(e.message);
    });
    server.listen({ host, port }, () => {
      server.close(() => {
        resolve(undefined);
      });
    });
  });
}

/** One error of all `fail` findings; undefined when there is none. */
export function refusal(findings: readonly Finding[]): EnvironmentError | undefined {
  const failed = findings.filter((f) => f.level === 'fail');
  const [first, ...more] = failed;
  if (first === undefined) return undefined;
  const { what, why, todo } = first;
  if (more.length === 0) {
    return new EnvironmentError('cannot-serve', {
      what,
      ...(why === undefined ? {} : { why }),
      ...(todo === undefined ? {} : { todo }),
    });
  }
  const lines = failed.map(
    (f) => `    ${f.what}${f.todo === undefined ? '' : `\n      do: ${f.todo}`}`,
  );
  return new EnvironmentError('cannot-serve', {
    what: `nothing was started, for ${failed.length} reasons:\n${lines.join('\n')}`,
  });
}

function ok(what: string): Finding {
  return { level: 'ok', what };
}
