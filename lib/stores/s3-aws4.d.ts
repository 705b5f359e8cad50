/** The one function of aws4 that we use; the package has no types. */
declare module 'aws4' {
  interface Request {
    readonly service: string
    readonly region: string
    readonly method: string
    readonly host: string
    readonly path: string
    readonly headers: Record<string, string>
  }
  interface Credentials {
    readonly accessKeyId: string
    readonly secretAccessKey: string
    readonly sessionToken?: string
  }
  const aws4: { sign(request: Request, credentials: Credentials): { readonly headers: Record<string, string> } }
  export default aws4
}
