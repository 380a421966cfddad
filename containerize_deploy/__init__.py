"""The service: the AWS Lambda function, its container and the guides to deploy it."""
