// record.mjs NAME: validate the IPNS record on standard input, and print its fields as JSON.
import { buffer } from 'node:stream/consumers'
import { unmarshalIPNSRecord, multihashToIPNSRoutingKey } from 'ipns'
import { ipnsValidator } from 'ipns/validator'
import { CID } from 'multiformats/cid'
import { base36 } from 'multiformats/bases/base36'

const raw = await buffer(process.stdin)
const name = CID.parse(process.argv[2], base36)
await ipnsValidator(multihashToIPNSRoutingKey(name.multihash), raw)
const { value, sequence } = unmarshalIPNSRecord(raw)
console.log(JSON.stringify({ value: `${value}`, sequence: Number(sequence) }))
