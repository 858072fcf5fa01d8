import { defaultRouteInterfaces, listInterfaces } from '#net/mod.ts';
import type { LoadedConfig } from './load-config.ts';
import { matchNetworks, type BootNetwork, type Finding } from './networks.ts';
import type { Paths } from './paths.ts';
import {
  folderFindings,
  loaderFindings,
  otherServerFindings,
  portFindings,
  toolFindings,
} from './preflight.ts';

/**
 * Looks at everything that a server with these settings would need, and changes nothing but making
 * missing folders. All findings, the good ones too: a person wants to see what was looked at.
 */
export async function examine(
  loaded: LoadedConfig,
  paths: Paths,
  path: string,
): Promise<Finding[]> {
  const { config, file } = loaded;
  const root = process.getuid?.() === 0;
  const matched = matchNetworks(config.networks, listInterfaces(), defaultRouteInterfaces());
  const findings: Finding[] = [
    {
      level: 'ok',
      what:
        file === undefined
          ? 'no configuration file: a proxy on every interface'
          : `configuration ${file}`,
    },
    root
      ? { level: 'ok', what: 'running as root' }
      : {
          level: 'warn',
          what: 'not running as root',
          why: 'ports 67, 69 and binding to an interface need it, so what follows is incomplete',
          todo: 'sudo ./polyboot doctor',
        },
    ...matched.findings,
    ...matched.networks.map(describe),
  ];
  if (root) {
    findings.push(...(await otherServerFindings(matched.networks)));
    findings.push(...(await portFindings(config, matched.networks)));
  }
  findings.push(...loaderFindings(config), ...folderFindings(paths), ...toolFindings(path));
  return findings;
}

function describe(network: BootNetwork): Finding {
  const { config, address, subnet } = network;
  const role = { server: 'DHCP server', proxy: 'proxyDHCP', off: 'no DHCP' }[config.dhcp];
  return { level: 'ok', what: `${config.interface}: ${role} at ${address} in ${subnet}` };
}
