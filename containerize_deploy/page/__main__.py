from containerize_deploy.page.website import main

main()
