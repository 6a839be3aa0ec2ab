/**
 * Which addresses a destination may have. A name is judged by what it resolves to, at the moment of the connection and on the
 * addresses that are connected to: a DNS server that answers differently the second time (rebinding) gains nothing.
 */

import { lookup as dnsLookup, type LookupAddress, type LookupOptions } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";

/** Not reachable from the internet, by IANA's registries of special-purpose addresses; a few that clouds keep for themselves. */
const PRIVATE_4 = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "168.63.129.16/32", // Azure's host
  "169.254.0.0/16", // link-local, and metadata services
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
];
const PRIVATE_6 = [
  "::/96",
  "64:ff9b:1::/48",
  "100::/64",
  "2001::/23",
  "2001:db8::/32",
  "3fff::/20",
  "5f00::/16",
  "fc00::/7",
  "fe80::/10",
  "fec0::/10",
  "ff00::/8",
];

/** The destination's address is one that must not be connected to. */
export class AddressRefused extends Error {}

/** Returns a network as its address and number of leading bits; null where the text is none. `10.1.2.3` is one address. */
export function readNetwork(text: string): { address: string; bits: number } | null {
  const [address, suffix, more] = text.split("/");
  const most = isIP(address) === 4 ? 32 : isIP(address) === 6 ? 128 : 0;
  const bits = suffix === undefined ? most : /^\d{1,3}$/.test(suffix) ? Number(suffix) : -1;
  return most && !address.includes("%") && more === undefined && bits >= 0 && bits <= most ? { address, bits } : null;
}

/** Returns the IPv4 address inside of an IPv6 one (mapped, translated, NAT64, 6to4), which is where packets end; else the address itself. */
export function innermost(address: string): string {
  if (isIP(address) !== 6) return address;
  const groups = expand(address);
  if (!groups) return address;
  const dotted = (high: number, low: number) => [high >> 8, high & 255, low >> 8, low & 255].join(".");
  const starts = (...wanted: number[]) => wanted.every((group, index) => groups[index] === group);
  if (starts(0, 0, 0, 0, 0, 0xffff) || starts(0, 0, 0, 0, 0xffff, 0) || starts(0x64, 0xff9b, 0, 0, 0, 0)) return dotted(groups[6], groups[7]);
  return starts(0x2002) ? dotted(groups[1], groups[2]) : address;
}

/** Returns the eight groups of an IPv6 address. */
function expand(address: string): number[] | null {
  const plain = address.split("%")[0].replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) => `${hex(a, b)}:${hex(c, d)}`);
  const [head, tail] = plain.split("::");
  const read = (part: string | undefined) => (part ? part.split(":").map((group) => Number.parseInt(group, 16)) : []);
  const [left, right] = [read(head), read(tail)];
  const groups = tail === undefined ? left : [...left, ...Array(Math.max(0, 8 - left.length - right.length)).fill(0), ...right];
  return groups.length === 8 && groups.every((group) => group >= 0 && group <= 0xffff) ? groups : null;
}

function hex(high: string, low: string): string {
  return ((Number(high) << 8) | Number(low)).toString(16);
}

function listOf(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of networks) {
    const network = readNetwork(text);
    if (network) list.addSubnet(network.address, network.bits, isIP(network.address) === 6 ? "ipv6" : "ipv4");
  }
  return list;
}

function holds(list: BlockList, address: string): boolean {
  return list.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}

const PRIVATE = listOf([...PRIVATE_4, ...PRIVATE_6]);

type Resolve = (hostname: string, options: LookupOptions, callback: (error: NodeJS.ErrnoException | null, found: LookupAddress[]) => void) => void;

/** Tells which addresses may be connected to: all public ones, and those of `allowed` networks. */
export class AddressPolicy {
  private readonly allowed: BlockList;

  constructor(
    allowed: readonly string[] = [],
    private readonly resolve: Resolve = dnsLookup as unknown as Resolve,
  ) {
    this.allowed = listOf(allowed);
  }

  /** Tells whether an address, which is no name, may be connected to. */
  allows(address: string): boolean {
    const inner = innermost(address.replace(/^\[|\]$/g, "").split("%")[0]);
    return isIP(inner) !== 0 && (holds(this.allowed, inner) || !holds(PRIVATE, inner));
  }

  /** Throws AddressRefused where a URL's host is an address that may not be connected to. Of names the lookup judges. */
  check(hostname: string): void {
    const plain = hostname.replace(/^\[|\]$/g, "");
    if (isIP(plain) && !this.allows(plain)) throw refusal(plain, plain);
  }

  /** What `net.connect` resolves names with: only addresses that may be connected to come out of it. */
  readonly lookup: LookupFunction = (hostname, options, callback) => {
    this.resolve(hostname, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, "", 0);
      const left = found.filter(({ address }) => this.allows(address));
      if (!left.length) return callback(refusal(hostname, found[0]?.address ?? "nothing"), "", 0);
      if (options.all) return callback(null, left);
      callback(null, left[0].address, left[0].family);
    });
  };
}

function refusal(hostname: string, address: string): AddressRefused {
  const shown = hostname === address ? address : `${hostname} (${address})`;
  return new AddressRefused(`${shown} is not a public address; WEBHOOK_ALLOW names private networks that may be sent to`);
}
